"""Near duplicates against a comparison of each image with each other one."""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from encoder_ablations.data.checks.facts import Content, PairFacts
from encoder_ablations.data.checks.near_duplicates import CORRELATION, FLAT, near_duplicates
from encoder_ablations.data.datasets.pairing import Pair

SPLITS = ("train", "val", "test")


@dataclass
class Look:
    """What near duplicates are found by."""

    thumbnail: np.ndarray
    phash: int
    digest: bytes


def content_of(looks: list[tuple[str, Look]]) -> Content:
    pairs = []
    for number, (split, look) in enumerate(looks):
        pair = Pair(str(number), Path(f"{number}.png"), Path("mask.png"))
        pairs.append(PairFacts(split, pair, image=look))
    return Content(None, pairs)


def expected(content: Content) -> set[tuple[str, str]]:
    """Image and detail of each finding; integers throughout, the first of equally similar ones."""
    by_split = defaultdict(list)
    for each, image in content.images:
        if image.thumbnail.std() > FLAT:
            levels = image.thumbnail.astype(int).ravel()
            by_split[each.split].append((each, image, 256 * levels - levels.sum()))
    found = set()
    for first, second in combinations(by_split.values(), 2):
        for each, image, row in second:
            best, nearest = -1.0, None
            for other, target, column in first:
                near = (image.phash ^ target.phash).bit_count() <= 10
                lengths = math.sqrt(row @ row) * math.sqrt(column @ column)
                if near and (row @ column) / lengths > best:
                    best, nearest = (row @ column) / lengths, (other, target)
            if best >= CORRELATION and nearest[1].digest != image.digest:
                found.add((each.name, f"like {nearest[0].name} (correlation {best:.3f})"))
    return found


def named(content: Content) -> list[tuple[str, str]]:
    return [(f"{each.split}/{each.path.name}", each.detail) for each in near_duplicates(content)]


@pytest.mark.parametrize("scenes", [1, 5, 60])
@pytest.mark.parametrize("contrast", [1.0, 0.06])
def test_the_nearest_is_that_of_all_comparisons(scenes, contrast):
    """Copies, noise, other brightness, nearly flat images and hashes around the limit."""
    stream = np.random.default_rng(scenes)
    coarse = stream.integers(0, 200, (scenes, 4, 4)) * contrast
    hashes = stream.integers(0, 2**63, scenes).tolist()
    looks = []
    for _ in range(250):
        scene = stream.integers(scenes)
        levels = np.kron(coarse[scene], np.ones((4, 4))) + stream.integers(0, 9)
        levels += stream.normal(0, 1, (16, 16)) * stream.choice([0, 0, 6 * contrast])
        flipped = np.flatnonzero(stream.random(64) < stream.choice([0, 0.1, 0.16])).tolist()
        look = Look(
            levels.clip(0, 255).round().astype(np.uint8),
            hashes[scene] ^ sum(1 << bit for bit in flipped),
            bytes([stream.integers(4)]),
        )
        looks.append((str(stream.choice(SPLITS)), look))
    content = content_of(looks)
    found = named(content)
    assert len(found) > 10
    assert len(found) == len(set(found))
    assert set(found) == expected(content)


def test_copies_are_named_once_each():
    """So many findings as images, whatever the number of copies in the other split."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    splits = ["train"] * 300 + ["val"] * 200
    looks = [(split, Look(levels, 7, bytes([number % 2]))) for number, split in enumerate(splits)]
    found = named(content_of(looks))
    # the copies with the digest of train's first image are equal, not nearly equal
    assert found == [
        (f"val/{number}.png", "like train/0.png (correlation 1.000)")
        for number in range(301, 500, 2)
    ]
