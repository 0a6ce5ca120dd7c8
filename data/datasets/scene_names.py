"""Which images are likely to be of one scene, by their names: tiles of a raster, frames of a video.

Names alone cannot prove it. What they leave open (``cat_001``, ``2007_000032``, ``000001``) is decided by the masks:
frames that follow each other show nearly the same share of every class, independent images do not.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from encoder_ablations.data.datasets.tile_names import find_scenes

Groups = Mapping[str, list[int]]

ORDINARY = frozenset({
    "train", "training", "trainval", "val", "valid", "validation", "dev", "test", "testing",
    "dsc", "dscn", "dscf", "dji", "gopr", "pxl", "mvimg", "img", "im", "image", "images", "pic", "picture", "photo",
    "sample", "data", "file", "item", "mask", "coco", "ade",
})  # fmt: skip
"""Words that name a split, a camera or nothing; what differs only in them is not a scene."""
FRAME_WORDS = frozenset({"frame", "frm", "video", "vid"})
FILLED = 0.3
"""Share of a grid that tiles fill at least; years or days and running numbers fill less."""
GROUPED = 0.5
"""Share of the images that have another one in their group."""
ALIKE = 0.5
"""Distance of neighbours in relation to that of images far apart, below which they are frames; 0.17 in CamVid."""
FEWEST = 20
"""Neighbours that this takes."""
BLOCKS = 20
"""So many blocks at least are made of one sequence, where it is long enough."""
YEAR = r"(19|20)\d\d"

_WORD = r"(?:x|y|r|c|i|j|row|col|column|left|top|tile|patch|crop)"
_PLACE = rf"(?:(?<![A-Za-z]){_WORD}[\W_]?)?\d+"
_BETWEEN = r"(?:[\W_]+|(?=[A-Za-z]))"


class LikelyScenes(NamedTuple):
    """A division into scenes that names suggest.

    Attributes:
        pattern: the ``scene_pattern`` that finds it.
        largest: the scene of most images.
        sure: whether it is likely; otherwise only possible.
    """

    pattern: str
    scenes: int
    largest: str
    sure: bool


def likely_scenes(ids: Sequence[str], pixels: np.ndarray | None = None) -> LikelyScenes | None:
    """Return the scenes that names suggest; None where they suggest none.

    Args:
        pixels: N×K pixels of each class in each mask; None = not known.
    """
    if len(ids) < 4:
        return None
    own = find_scenes(ids)
    if own is not None:
        return _found(own, _groups(own, ids) or {}, True)
    tail = re.escape(_common_end(ids)) + "$"
    return _tiles(ids, tail) or _frames(ids, tail, pixels) or _sequence(ids, tail, pixels)


def _found(pattern: str, groups: Groups, sure: bool) -> LikelyScenes:
    largest = max(sorted(groups), key=lambda name: len(groups[name]))
    return LikelyScenes(pattern, len(groups), largest, sure)


def _common_end(ids: Sequence[str]) -> str:
    """What all names end with, from its first character that is no digit: ``_leftImg8bit``, ``_10``."""
    shortest = min(map(len, ids))
    length = 0
    while length < shortest and len({name[-length - 1] for name in ids}) == 1:
        length += 1
    end = ids[0][len(ids[0]) - length :]
    return end.lstrip("0123456789")


def _groups(pattern: str, ids: Sequence[str]) -> dict[str, list[int]] | None:
    """Positions by scene; None where a name does not fit."""
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(ids):
        match = re.search(pattern, name)
        if match is None:
            return None
        groups.setdefault(match[1], []).append(position)
    return groups


def _grouped(groups: Groups) -> bool:
    sizes = list(map(len, groups.values()))
    return sum(size for size in sizes if size > 1) >= GROUPED * sum(sizes)


def _tiles(ids: Sequence[str], tail: str) -> LikelyScenes | None:
    """Names that end with the two (or four) coordinates of a tile in a raster."""
    for places in (4, 2):
        coordinates = _BETWEEN.join([_PLACE] * places)
        pattern = rf"^(.*?)[\W_]*{coordinates}{tail}"
        groups = _groups(pattern, ids)
        if groups is None or not _grouped(groups) or not _are_grids(ids, groups, tail, places):
            continue
        simple = [
            r"^(.*?)\D*" + r"\D+".join([r"\d+"] * places),
            r"^(.*?)[\W_]*" + r"[\W_]+".join([r"\d+"] * places),
        ]
        if (
            len(groups) == 1
        ):  # of a single raster the rows are the scenes, as those of 'ablate tile' are
            pattern = rf"(\d+){_BETWEEN}{_BETWEEN.join([_PLACE] * (places - 1))}{tail}"
            groups = _groups(pattern, ids)
            simple = [r"(\d+)" + r"\D+\d+" * (places - 1)]
        if groups is None or len(groups) < 2:
            return None
        return _found(_simplest([each + tail for each in simple], pattern, ids), groups, True)
    return None


def _simplest(simple: Sequence[str], pattern: str, ids: Sequence[str]) -> str:
    """The first of the simple patterns that finds the same groups as ``pattern``; otherwise ``pattern`` itself."""
    wanted = sorted((_groups(pattern, ids) or {}).values())
    for candidate in simple:
        groups = _groups(candidate, ids)
        if groups is not None and sorted(groups.values()) == wanted:
            return candidate
    return pattern


def _are_grids(ids: Sequence[str], groups: Groups, tail: str, places: int) -> bool:
    """Whether most groups fill rows and columns, or are called tiles."""
    filled = 0
    for positions in groups.values():
        ends = [re.sub(tail, "", ids[position]) for position in positions]
        numbers = [re.findall(r"\d+", end)[-places:] for end in ends]
        # with four numbers (x, width, y, height, or corners) the first and third begin the tile
        rows, columns = ({each[place] for each in numbers} for place in (0, places // 2))
        called = all(
            re.search(r"(?i)(tile|patch|crop)[\W_]*\d+|[xyrc]\d+[\W_]*[xyrc]\d+$", end)
            for end in ends
        )
        years = all(re.fullmatch(YEAR, row) for row in rows)
        full = min(len(rows), len(columns)) > 1 and len(positions) >= FILLED * len(rows) * len(
            columns
        )
        filled += len(positions) * ((full and not years) or (called and len(positions) > 1))
    return filled >= GROUPED * len(ids)


def _frames(ids: Sequence[str], tail: str, pixels: np.ndarray | None) -> LikelyScenes | None:
    """Names of several beginnings, each with running numbers."""
    for numbers in (r"\d+", r"\d+[\W_]+\d+"):
        pattern = rf"^(.*?)[\W_]*{numbers}{tail}"
        groups = _groups(pattern, ids)
        if groups is None:
            return None
        told = Counter[str]()
        for name, positions in groups.items():
            told[_telling(name)] += len(positions)
        if len(told) < 2 or not _grouped(groups):
            continue
        numbered = sum(
            count for name, count in told.items() if re.search(r"\d", re.sub(f"^{YEAR}$", "", name))
        )
        sure = numbered >= GROUPED * len(ids) or _neighbours_are_alike(ids, groups, pixels)
        return _found(pattern, groups, sure)
    return None


def _telling(name: str) -> str:
    """The part of a beginning that may name a scene."""
    words = [word for word in re.split(r"[\W_]+", name) if word]
    return "_".join(
        word for word in words if re.sub(f"(?<=[a-z]){YEAR}$", "", word.lower()) not in ORDINARY
    )


def _sequence(ids: Sequence[str], tail: str, pixels: np.ndarray | None) -> LikelyScenes | None:
    """One sequence of running numbers, if it is one of frames: then blocks of neighbours are the scenes."""
    groups = _groups(rf"^(.*?)[\W_]*\d+{tail}", ids)
    if groups is None or len({_telling(name) for name in groups}) > 1:
        return None
    words = re.split(r"[\W_]+|(?<=[a-z])(?=\d)", " ".join(groups).lower())
    named = not FRAME_WORDS.isdisjoint(words)
    if not named and not _neighbours_are_alike(ids, {"": list(range(len(ids)))}, pixels):
        return None
    for digits in (3, 2, 1):
        pattern = r"(\d*?)" + (rf"\d{{1,{digits}}}" if digits > 1 else r"\d") + tail
        blocks = _groups(pattern, ids)
        if blocks and (len(blocks) >= BLOCKS or (digits == 1 and len(blocks) > 1)):
            return _found(pattern, blocks, named)
    return None


def _neighbours_are_alike(ids: Sequence[str], groups: Groups, pixels: np.ndarray | None) -> bool:
    """Whether masks of neighbours differ far less than those half a group apart."""
    if pixels is None:
        return False
    shares = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    near: list[float] = []
    far: list[float] = []
    for positions in groups.values():
        if len(positions) < 4:
            continue
        ordered = shares[sorted(positions, key=lambda position: _natural(ids[position]))]
        near += np.abs(ordered[1:] - ordered[:-1]).sum(axis=1).tolist()
        far += np.abs(ordered - np.roll(ordered, len(ordered) // 2, axis=0)).sum(axis=1).tolist()
    return len(near) >= FEWEST and float(np.median(near)) < ALIKE * float(np.median(far))


def _natural(name: str) -> list[str | int]:
    """Sorts ``f2`` before ``f10``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
