"""Images that show what images of another split show: mirrored, cropped, turned or scaled."""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, combinations
from pathlib import Path

import numpy as np

from encoder_ablations.data.checks.content.keypoints import (
    Keypoints,
    Match,
    find_matches,
    shows_same,
    shrink,
)
from encoder_ablations.data.checks.facts import Content, ImageFacts, PairFacts, grouped
from encoder_ablations.data.checks.near_duplicates import near_duplicates
from encoder_ablations.data.checks.rules import Finding
from encoder_ablations.data.datasets.reading import read_image

_Image = tuple[PairFacts, ImageFacts]


def shared_views(content: Content) -> Iterator[Finding]:
    """Find images of which a part is in another split; copies are found by other checks."""
    copies = {each.path for each in near_duplicates(content)}
    by_split = grouped(content.images, lambda read: read[0].split).values()
    for first, second in combinations(by_split, 2):
        digests = {image.digest for _, image in first}
        new = [
            (each, image)
            for each, image in second
            if each.pair.image not in copies and image.digest not in digests
        ]
        yield from _shared(first, new, content.spec.upright)


def _shared(first: list[_Image], second: list[_Image], upright: bool) -> Iterator[Finding]:
    """Name each image of ``second`` once, with the image of ``first`` that it resembles."""
    if not first or not second:
        return
    targets = [image.content.keypoints for _, image in first]
    plain = [image.content.keypoints for _, image in second]
    mirrored = [image.content.mirrored for _, image in second]
    read = lru_cache(maxsize=64)(_Gray(upright))
    named: set[Path] = set()
    proposals = chain(_proposals(plain, targets, False), _proposals(mirrored, targets, True))
    for match, is_mirrored in proposals:
        each, other = second[match.query][0], first[match.target][0]
        if each.pair.image in named:
            continue
        query = read(each.pair.image)
        if is_mirrored:
            query = np.ascontiguousarray(query[:, ::-1])
        if shows_same(query, read(other.pair.image), match.matrix):
            named.add(each.pair.image)
            yield each.about_image("view-shared", _about(match, is_mirrored, other))


class _Gray:
    """Reads an image as keypoints were looked for in it."""

    def __init__(self, upright: bool) -> None:
        self._upright = upright

    def __call__(self, path: Path) -> np.ndarray:
        return shrink(read_image(path, self._upright))


def _proposals(
    queries: list[Keypoints], targets: list[Keypoints], mirrored: bool
) -> Iterator[tuple[Match, bool]]:
    yield from ((match, mirrored) for match in find_matches(queries, targets))


def _about(match: Match, mirrored: bool, other: PairFacts) -> str:
    """Return which image is shown, and how."""
    cosine, sine = match.matrix[0, 0], match.matrix[1, 0]
    angle, scale = round(math.degrees(math.atan2(sine, cosine))), math.hypot(cosine, sine)
    changes = {
        "mirrored": mirrored,
        f"turned by {angle}°": abs(angle) >= 3,
        f"at {scale:.1f} times the size": abs(math.log(scale)) > 0.1,
    }
    how = [change for change, made in changes.items() if made]
    return ", ".join([f"like {other.name}", *how])
