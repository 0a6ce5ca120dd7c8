"""Which images are likely to be of one scene, by their names: tiles of a raster, frames of a video.

Names alone cannot prove it. What they leave open (``cat_001``, ``2007_000032``, ``000001``) is
decided by the masks: frames that follow each other show nearly the same share of every class,
independent images do not.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from encoder_ablations.data.datasets.tile_names import find_scenes, scene_in
from encoder_ablations.utils.texts import plural

Groups = Mapping[str, list[int]]

ORDINARY = frozenset({
    "train", "training", "trainval", "val", "valid", "validation", "dev", "test", "testing",
    "dsc", "dscn", "dscf", "dji", "gopr", "pxl", "mvimg", "img", "im", "image", "images", "pic",
    "picture", "photo", "sample", "data", "file", "item", "mask", "coco", "ade",
})  # fmt: skip
"""Words that name a split, a camera or nothing; what differs only in them is not a scene."""
FRAME_WORDS = frozenset({"frame", "frm", "video", "vid"})
FILLED = 0.3
"""Share of a grid that tiles fill at least; years or days and running numbers fill less."""
GROUPED = 0.5
"""Share of the images that have another one in their group."""
ALIKE = 0.5
"""Neighbours are frames when their distance, divided by that of images far apart, is below this.

It is 0.17 in CamVid.
"""
FEWEST = 20
"""Neighbours that this takes."""
BLOCKS = 20
"""So many blocks at least are made of one sequence, where it is long enough."""
YEAR = r"(19|20)\d\d"
_BLOCK_WORDS = {10: "tens", 100: "hundreds", 1000: "thousands"}

_WORD = r"(?:x|y|r|c|i|j|row|col|column|left|top|tile|patch|crop)"
_PLACE = rf"(?:(?<![A-Za-z]){_WORD}[\W_]?)?\d+"
_BETWEEN = r"(?:[\W_]+|(?=[A-Za-z]))"
_TILE = re.compile(r"(?i)(tile|patch|crop)[\W_]*\d+|[xyrc]\d+[\W_]*[xyrc]\d+$")
"""The end of a tile's name: ``tile_3``, ``x12_y7``."""
_YEAR = re.compile(YEAR)
_RECORDING = re.compile(rf"(?!{YEAR}$).*\d")
"""A beginning that names a recording: it holds a number and is no year."""


class LikelyScenes(NamedTuple):
    """A division into scenes that names suggest.

    Attributes:
        pattern: the ``scene_pattern`` that finds it.
        largest: the scene of most images.
        sure: whether it is likely; otherwise only possible.
        block: number of neighbours that make a scene, where consecutive numbers are all that names
            say; 0 where names say more.
    """

    pattern: str
    scenes: int
    largest: str
    sure: bool
    block: int = 0

    @property
    def about(self) -> str:
        """What the images are taken for, in words."""
        scenes = plural(self.scenes, "scene")
        if self.block:
            return (
                "frames of one film, because their numbers are consecutive; grouped in "
                f"{_BLOCK_WORDS[self.block]} they make {scenes}"
            )
        return f"frames or tiles of {scenes}, the largest '{self.largest}'"


def likely_scenes(ids: Sequence[str], pixels: np.ndarray | None = None) -> LikelyScenes | None:
    """Return the scenes that names suggest; None where they suggest none.

    Args:
        ids: the images' names.
        pixels: N×K pixels of each class in each mask; None = not known.
    """
    if len(ids) < 4:
        return None
    if pixels is None:
        pixels = np.zeros((len(ids), 1))
    own = find_scenes(ids)
    if own is not None:
        return _found(own, _groups(own, ids), True)
    tail = re.escape(_common_end(ids)) + "$"
    return _tiles(ids, tail) or _frames(ids, tail, pixels) or _sequence(ids, tail, pixels)


def _found(pattern: str, groups: Groups, sure: bool) -> LikelyScenes:
    largest = max(sorted(groups), key=lambda name: len(groups[name]))
    return LikelyScenes(pattern, len(groups), largest, sure)


def _common_end(ids: Sequence[str]) -> str:
    """Return what all names end with, from its first non-digit: ``_leftImg8bit``, ``_10``."""
    backwards = zip(*map(reversed, ids), strict=False)
    common = takewhile(lambda letters: len(set(letters)) == 1, backwards)
    return "".join(letters[0] for letters in common)[::-1].lstrip("0123456789")


def _groups(pattern: str, ids: Sequence[str]) -> dict[str, list[int]]:
    """Return positions by scene; {} where a name does not fit."""
    groups: dict[str, list[int]] = {}
    for position, name in enumerate(ids):
        scene = scene_in(pattern, name)
        if scene is None:
            return {}
        groups.setdefault(scene, []).append(position)
    return groups


def _grouped(groups: Groups) -> bool:
    """Whether enough images share their group with another one."""
    sizes = np.array([len(positions) for positions in groups.values()])
    return bool(sizes[sizes > 1].sum() >= GROUPED * sizes.sum())


def _tiles(ids: Sequence[str], tail: str) -> LikelyScenes | None:
    """Names that end with the two (or four) coordinates of a tile in a raster."""
    for places in (4, 2):
        pattern = rf"^(.*?)[\W_]*{_BETWEEN.join([_PLACE] * places)}{tail}"
        groups = _groups(pattern, ids)
        if not (_grouped(groups) and _are_grids(ids, groups, tail, places)):
            continue
        if len(groups) == 1:
            return _rows_of_tiles(ids, tail, places)
        numbers = [r"\d+"] * places
        simple = [
            r"^(.*?)\D*" + r"\D+".join(numbers) + tail,
            r"^(.*?)[\W_]*" + r"[\W_]+".join(numbers) + tail,
        ]
        return _found(_simplest(simple, pattern, ids), groups, True)
    return None


def _rows_of_tiles(ids: Sequence[str], tail: str, places: int) -> LikelyScenes | None:
    """Return the rows of a single raster as scenes, as 'ablate tile' makes them."""
    others = _BETWEEN.join([_PLACE] * (places - 1))
    pattern = rf"(\d+){_BETWEEN}{others}{tail}"
    groups = _groups(pattern, ids)
    if len(groups) < 2:
        return None
    simple = r"(\d+)" + r"\D+\d+" * (places - 1) + tail
    return _found(_simplest([simple], pattern, ids), groups, True)


def _simplest(simple: Sequence[str], pattern: str, ids: Sequence[str]) -> str:
    """Return the first simple pattern with the groups of ``pattern``, or ``pattern`` itself."""
    wanted = sorted(_groups(pattern, ids).values())
    for candidate in simple:
        if sorted(_groups(candidate, ids).values()) == wanted:
            return candidate
    return pattern


def _are_grids(ids: Sequence[str], groups: Groups, tail: str, places: int) -> bool:
    """Whether most images are in groups that fill rows and columns, or are called tiles."""
    in_grids = 0
    for positions in groups.values():
        ends = [re.sub(tail, "", ids[position]) for position in positions]
        if _fill_a_grid(ends, places) or _are_called_tiles(ends):
            in_grids += len(positions)
    return in_grids >= GROUPED * len(ids)


def _fill_a_grid(ends: Sequence[str], places: int) -> bool:
    """Whether the coordinates at the ends of names cover rows and columns, and are no years."""
    numbers = list(zip(*[re.findall(r"\d+", end)[-places:] for end in ends], strict=True))
    # with four numbers (x, width, y, height, or corners) the first and third begin the tile
    rows, columns = set(numbers[0]), set(numbers[places // 2])
    filled = len(ends) >= FILLED * len(rows) * len(columns)
    years = all(map(_YEAR.fullmatch, rows))
    return min(len(rows), len(columns)) >= 2 and filled and not years


def _are_called_tiles(ends: Sequence[str]) -> bool:
    return len(ends) > 1 and all(map(_TILE.search, ends))


def _frames(ids: Sequence[str], tail: str, pixels: np.ndarray) -> LikelyScenes | None:
    """Names of several beginnings, each with running numbers."""
    for numbers in (r"\d+", r"\d+[\W_]+\d+"):
        pattern = rf"^(.*?)[\W_]*{numbers}{tail}"
        groups = _groups(pattern, ids)
        if len(set(map(_telling, groups))) > 1 and _grouped(groups):
            named = [name for name in groups if _RECORDING.match(_telling(name))]
            recorded = sum(len(groups[name]) for name in named) >= GROUPED * len(ids)
            return _found(pattern, groups, recorded or _neighbours_are_alike(ids, groups, pixels))
    return None


def _telling(name: str) -> str:
    """Return the part of a beginning that may name a scene."""
    words = re.findall(r"[^\W_]+", name)
    return "_".join(word for word in words if _without_year(word.lower()) not in ORDINARY)


def _without_year(word: str) -> str:
    """Return ``train`` for ``train2017``."""
    return re.sub(f"(?<=[a-z]){YEAR}$", "", word)


def _sequence(ids: Sequence[str], tail: str, pixels: np.ndarray) -> LikelyScenes | None:
    """Blocks of neighbours as scenes, where all names are one sequence of frames."""
    groups = _groups(rf"^(.*?)[\W_]*\d+{tail}", ids)
    if len(set(map(_telling, groups))) != 1:
        return None
    words = re.split(r"[\W_]+|(?<=[a-z])(?=\d)", " ".join(groups).lower())
    named = not FRAME_WORDS.isdisjoint(words)
    all_ids = {"": list(range(len(ids)))}
    if not (named or _neighbours_are_alike(ids, all_ids, pixels)):
        return None
    # blocks of 1000, 100 or 10 neighbours: the longest of which there are enough
    choices = ((r"\d{1,3}", 1000, BLOCKS), (r"\d{1,2}", 100, BLOCKS), (r"\d", 10, 2))
    for last_digits, block, enough in choices:
        pattern = rf"(\d*?){last_digits}{tail}"
        blocks = _groups(pattern, ids)
        if len(blocks) >= enough:
            return _found(pattern, blocks, named)._replace(block=block)
    return None


def _neighbours_are_alike(ids: Sequence[str], groups: Groups, pixels: np.ndarray) -> bool:
    """Whether masks of neighbours differ far less than those half a group apart."""
    shares = pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)
    near, far = [np.zeros(0)], [np.zeros(0)]
    for positions in groups.values():
        ordered = shares[sorted(positions, key=lambda position: _natural(ids[position]))]
        # in shorter groups half a group is no distance
        if len(ordered) >= 4:
            near.append(_distances(ordered[1:], ordered[:-1]))
            far.append(_distances(ordered, np.roll(ordered, len(ordered) // 2, axis=0)))
    distances = np.concatenate(near)
    alike = len(distances) >= FEWEST and np.median(distances) < ALIKE * np.median(
        np.concatenate(far)
    )
    return bool(alike)


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how far the shares of images, N×K in rows, differ: N float64."""
    difference: np.ndarray = np.abs(first - second).sum(axis=1)
    return difference


def _natural(name: str) -> list[str | int]:
    """Return a key that sorts ``f2`` before ``f10``."""
    parts: list[str | int] = [*re.split(r"(\d+)", name)]
    parts[1::2] = map(int, parts[1::2])
    return parts
