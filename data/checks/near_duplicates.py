"""Images of different splits that are nearly equal: compressed or resized copies."""

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from encoder_ablations.data.checks.facts import Content, ImageFacts, PairFacts, grouped
from encoder_ablations.data.checks.rules import Finding

HASH_DISTANCE = 10
"""Bits of 64 in which the hashes of nearly equal images may differ."""
CORRELATION = 0.985
"""Smallest correlation of their thumbnails."""
FLAT = 2
"""A thumbnail with a smaller standard deviation, of 255 levels, resembles every other one."""
BLOCK = 32
"""Images that are compared with all of another split at once."""

_Image = tuple[PairFacts, ImageFacts]


def near_duplicates(content: Content) -> Iterator[Finding]:
    """Images of different splits whose hashes and thumbnails agree, each with its nearest."""
    varied = [read for read in content.images if read[1].thumbnail.std() > FLAT]
    by_split = grouped(varied, lambda read: read[0].split).values()
    for first, second in combinations(by_split, 2):
        yield from _between(first, second)


def _between(first: list[_Image], second: list[_Image]) -> Iterator[Finding]:
    """Name each image of ``second`` that resembles one of ``first``, with the most similar one."""
    # copies are compared once, by the first of them
    targets = [copies[0] for copies in grouped(first, _look).values()]
    queries = list(grouped(second, _look).values())
    for query, target, correlation in _nearest([copies[0] for copies in queries], targets):
        other, its_image = targets[target]
        for each, image in queries[query]:
            if image.digest != its_image.digest:
                detail = f"like {other.name} (correlation {correlation:.3f})"
                yield each.about_image("near-duplicate", detail)


def _look(read: _Image) -> tuple[int, bytes]:
    return read[1].phash, read[1].thumbnail.tobytes()


def _nearest(queries: list[_Image], targets: list[_Image]) -> Iterator[tuple[int, int, float]]:
    """Yield numbers of a query and of its nearest target, and the correlation of the two.

    All hashes are compared with all others. That takes 1 to 2 nanoseconds a pair, 15 s for 100,000
    hashes and 100,000 others. Thumbnails are compared only where hashes are close.
    """
    hashes, thumbnails = _hashes(targets), _thumbnails(targets)
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        distances = np.bitwise_count(_hashes(block)[:, None] ^ hashes)
        close = distances <= HASH_DISTANCE
        columns = np.flatnonzero(close.any(axis=0))
        if not len(columns):
            continue
        correlations = _correlations(_thumbnails(block), thumbnails[columns])
        # of the images with a close hash, the one with the most similar thumbnail
        likeness = np.where(close[:, columns], correlations, -1)
        nearest, best = likeness.argmax(axis=1), likeness.max(axis=1)
        for row in np.flatnonzero(best >= CORRELATION).tolist():
            yield start + row, int(columns[nearest[row]]), float(best[row])


def _hashes(images: list[_Image]) -> np.ndarray:
    """Return the hashes as N uint64."""
    return np.array([image.phash for _, image in images], np.uint64)


def _thumbnails(images: list[_Image]) -> np.ndarray:
    """Return the thumbnails as N×256 uint8."""
    return np.stack([image.thumbnail.ravel() for _, image in images])


def _correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlations of thumbnails, N×256 and M×256, as N×M float64."""
    rows, columns = _centred(first), _centred(second)
    lengths = np.outer(np.linalg.norm(rows, axis=1), np.linalg.norm(columns, axis=1))
    correlations: np.ndarray = rows @ columns.T / lengths
    return correlations


def _centred(thumbnails: np.ndarray) -> np.ndarray:
    """Return 256 times the differences from each thumbnail's mean, N×256 float64.

    These are integers, whose products are exact in any order: equally similar images tie.
    """
    total = thumbnails.sum(axis=1, keepdims=True, dtype=np.float64)
    centred: np.ndarray = thumbnails.shape[1] * thumbnails.astype(np.float64) - total
    return centred
