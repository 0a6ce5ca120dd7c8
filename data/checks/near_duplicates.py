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
BLOCK = 256
"""Images that are compared with all of another split at once."""

_Images = list[tuple[PairFacts, ImageFacts]]


def near_duplicates(content: Content) -> Iterator[Finding]:
    """Images of different splits whose hashes and thumbnails agree, each with its nearest."""
    varied = [read for read in content.images if read[1].thumbnail.std() > FLAT]
    by_split = grouped(varied, lambda read: read[0].split).values()
    for first, second in combinations(by_split, 2):
        signs, thumbnails = _signs(first), _normalized(first)
        for start in range(0, len(second), BLOCK):
            yield from _near_in_block(first, signs, thumbnails, second[start : start + BLOCK])


def _near_in_block(
    first: _Images, signs: np.ndarray, thumbnails: np.ndarray, block: _Images
) -> Iterator[Finding]:
    """Compare images of a block with those of ``first``, which have these signs and thumbnails."""
    # a product of signs is 64 minus twice the number of different bits
    close = _signs(block) @ signs.T >= 64 - 2 * HASH_DISTANCE
    # of the images with a close hash, the one with the most similar thumbnail
    likeness = np.where(close, _normalized(block) @ thumbnails.T, -1)
    nearest, correlations = likeness.argmax(axis=1), likeness.max(axis=1)
    for row in np.flatnonzero(correlations >= CORRELATION).tolist():
        (each, image), (other, its_image) = block[row], first[int(nearest[row])]
        if image.digest != its_image.digest:
            detail = f"like {other.name} (correlation {correlations[row]:.3f})"
            yield each.about_image("near-duplicate", detail)


def _signs(images: _Images) -> np.ndarray:
    """Return the hashes as N×64 float32 of +1 and -1."""
    return np.stack([image.phash for _, image in images]).astype(np.float32) * 2 - 1


def _normalized(images: _Images) -> np.ndarray:
    """Return the thumbnails as N×256 float32 of mean 0 and length 1: products are correlations."""
    rows = np.stack([image.thumbnail.ravel() for _, image in images]).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    normalized: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normalized
