"""Images that show what images of another split show: mirrored, cropped, turned or scaled."""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from encoder_ablations.data.checks.content.keypoints import (
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


def similar_images(content: Content) -> Iterator[Finding]:
    """Find images that are nearly equal to one of another split, and others that share a part."""
    duplicates = list(near_duplicates(content))
    yield from duplicates
    yield from _shared_views(content, {each.path for each in duplicates})


def _shared_views(content: Content, copies: set[Path | None]) -> Iterator[Finding]:
    """Find images of which a part is in another split, other than these and equal ones."""
    by_split = grouped(content.images, lambda read: read[0].split).values()
    for first, second in combinations(by_split, 2):
        distinct = _distinct(first)
        new = [
            (each, image)
            for each, image in second
            if each.pair.image not in copies and image.digest not in distinct
        ]
        yield from _shared(list(distinct.values()), new, content.spec.upright)


def _distinct(images: list[_Image]) -> dict[bytes, _Image]:
    """Return the images by their digests; of equal ones the last, at its place."""
    distinct: dict[bytes, _Image] = {}
    for each, image in images:
        distinct.pop(image.digest, None)
        distinct[image.digest] = each, image
    return distinct


def _shared(first: list[_Image], second: list[_Image], upright: bool) -> Iterator[Finding]:
    """Name each image of ``second`` once, with the image of ``first`` that it resembles."""
    if not first or not second:
        return
    targets = [image.content.keypoints for _, image in first]
    plain = [image.content.keypoints for _, image in second]
    mirrored = [image.content.mirrored for _, image in second]
    read = lru_cache(maxsize=64)(_Gray(upright))
    named: set[Path] = set()
    for match in find_matches([*plain, *mirrored], targets):
        is_mirrored, query = divmod(match.query, len(second))
        each, other = second[query][0], first[match.target][0]
        if each.pair.image in named:
            continue
        pixels = read(each.pair.image)
        if is_mirrored:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        if shows_same(pixels, read(other.pair.image), match.matrix):
            named.add(each.pair.image)
            yield each.about_image("view-shared", _about(match, bool(is_mirrored), other))


class _Gray:
    """Reads an image as keypoints were looked for in it."""

    def __init__(self, upright: bool) -> None:
        self._upright = upright

    def __call__(self, path: Path) -> np.ndarray:
        return shrink(read_image(path, self._upright))


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
