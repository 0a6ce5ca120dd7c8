"""Which pixels of a mask lie inside an area, and which only between two others."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy

from encoder_ablations.data.datasets.reading import FileProblem, opened, read_ids
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.intake.layouts.codes import pack
from encoder_ablations.data.intake.layouts.mask_values import (
    BLACK_AND_WHITE,
    LOSSY_FORMATS,
    count_unclear,
    cut,
)

LARGEST = 500_000
"""Number of a mask's pixels that are looked at; larger masks are thinned."""
MOST_GREYS, MOST_COLORS = 64, 256
"""Largest number of values, and of colours, in one mask; pictures have more."""
SMOOTH = 3
"""This many values between 0 and 255 without areas, or more, are no thin classes."""
ROUGH = 0.3
"""Largest share of pixels outside of areas in a mask of many values; pictures have more."""


@dataclass(frozen=True)
class View:
    """A file that may be a mask.

    Attributes:
        codes: H×W int32, its values, or R·65536 + G·256 + B.
        color: whether codes are colours.
        picture: whether it is a photograph, a visualisation or the like and no mask.
    """

    codes: np.ndarray
    color: bool
    picture: bool

    @cached_property
    def values(self) -> list[int]:
        """All codes, rising."""
        values: list[int] = np.unique(self.codes).tolist()
        return values

    @property
    def numbers(self) -> set[int]:
        """All codes that may number objects or classes."""
        return numbers_in(self.values)


def numbers_in(codes: Iterable[int]) -> set[int]:
    """Return the values without 0, and without 255 where that can only be "not labelled"."""
    found = set(codes) - {0}
    if IGNORE - 1 in found:
        return found
    return found - {IGNORE}


def view(path: Path) -> View | None:
    """Read a file of any form; None where it cannot be read."""
    try:
        with opened(path) as image:
            if image.format in LOSSY_FORMATS:
                return _lossy(_thin(np.asarray(image.convert("L"))))
            if len(image.getbands()) > 1:
                return _channels(_thin(np.asarray(image.convert("RGB"))))
        codes = _thin(read_ids(path)).astype(np.int32)
    except FileProblem:
        return None
    return _grey(codes)


def _thin(pixels: np.ndarray) -> np.ndarray:
    step = int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / LARGEST)))
    return pixels[::step, ::step]


def _lossy(levels: np.ndarray) -> View:
    unclear = count_unclear(levels) / levels.size
    return View(cut(levels).astype(np.int32), False, unclear > 1 - BLACK_AND_WHITE)


def _channels(pixels: np.ndarray) -> View:
    if (pixels == pixels[..., :1]).all():
        return _grey(pixels[..., 0].astype(np.int32))
    codes = pack(pixels)
    return View(codes, True, _is_picture(codes, MOST_COLORS))


def _grey(codes: np.ndarray) -> View:
    """Return a file's values, or 0 and 255 alone where all others are smoothed edges."""
    if _are_edges_smoothed(codes):
        return View(cut(codes).astype(np.int32), False, False)
    return View(codes, False, _is_picture(codes, MOST_GREYS))


def _are_edges_smoothed(codes: np.ndarray) -> bool:
    """Return whether all values but 0 and 255 lie outside of areas, as edges do."""
    between = (codes != 0) & (codes != 255)
    if codes.max() != 255 or len(np.unique(codes[between])) < SMOOTH or between.mean() > ROUGH:
        return False
    areas = inside_areas(codes)
    return not areas[between].any() and bool(areas[codes == 255].any())


def _is_picture(codes: np.ndarray, most: int) -> bool:
    return len(np.unique(codes)) > most and float(np.mean(~inside_areas(codes))) > ROUGH


def inside_areas(codes: np.ndarray) -> np.ndarray:
    """Return H×W bool: pixels whose eight neighbours hold the same value."""
    lowest: np.ndarray = scipy.ndimage.minimum_filter(codes, 3, mode="nearest")
    highest: np.ndarray = scipy.ndimage.maximum_filter(codes, 3, mode="nearest")
    inside: np.ndarray = lowest == highest
    return inside


def between_neighbours(channels: np.ndarray) -> np.ndarray:
    """Return H×W bool: pixels that lie between their neighbours.

    They do so in every channel, and strictly in at least one.

    Args:
        channels: H×W×C.
    """
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    every = np.ones(channels.shape[:2], bool)
    some = np.zeros(channels.shape[:2], bool)
    for channel in np.moveaxis(channels, -1, 0):
        lowest = scipy.ndimage.minimum_filter(channel, footprint=ring, mode="nearest")
        highest = scipy.ndimage.maximum_filter(channel, footprint=ring, mode="nearest")
        every &= (lowest <= channel) & (channel <= highest)
        some |= (lowest < channel) & (channel < highest)
    return every & some


def pieces_of(codes: np.ndarray, value: int) -> int:
    """Return how many connected pieces the pixels of a value form."""
    return int(scipy.ndimage.label(codes == value, np.ones((3, 3), int))[1])
