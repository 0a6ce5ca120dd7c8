"""The numbers of a raster in a bounded sample of its blocks, from which a range is advised."""

import math
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from encoder_ablations.utils.progress import Bar

MOST_BLOCKS = 64
MOST_PIXELS = 1 << 22
"""Pixels of each band that are sampled at most, unless one block holds more."""


class NumberSample(NamedTuple):
    """The numbers in some blocks of a raster.

    Attributes:
        numbers: float64, finite; without those that stand for "no data".
        blocks: number of blocks that were read.
        all_blocks: number of blocks of the raster.
        share: of the raster's pixels that were read, 0..1.
    """

    numbers: np.ndarray
    blocks: int
    all_blocks: int
    share: float


def sample_numbers(source: Any, bands: list[int]) -> NumberSample:
    """Return the numbers of bands in blocks that are spread evenly over a raster.

    Blocks are what a file stores together, so nothing else has to be decoded. A progress bar shows
    how many are read.

    Args:
        source: an opened raster.
        bands: counted from 1.
    """
    height, width = source.block_shapes[0]
    rows, columns = math.ceil(source.height / height), math.ceil(source.width / width)
    places = _spread(rows, columns, max(1, min(MOST_BLOCKS, MOST_PIXELS // (height * width))))
    found, pixels = [], 0
    for row, column in Bar(places, "sampling numbers", unit="block"):
        top, left = row * height, column * width
        bottom, right = min(top + height, source.height), min(left + width, source.width)
        window = (top, bottom), (left, right)
        numbers = source.read(bands, window=window, masked=True).compressed()
        found.append(numbers[np.isfinite(numbers)].astype(np.float64))
        pixels += (bottom - top) * (right - left)
    share = pixels / (source.height * source.width)
    return NumberSample(np.concatenate(found), len(places), rows * columns, share)


def _spread(rows: int, columns: int, most: int) -> list[tuple[int, int]]:
    """Return the places of at most ``most`` blocks of a grid, evenly over rows and columns."""
    across = min(columns, math.isqrt(most))
    down = min(rows, most // across)
    across = min(columns, most // down)
    return list(product(_middles(rows, down), _middles(columns, across)))


def _middles(length: int, parts: int) -> list[int]:
    """Return the position in the middle of each of several equal parts of a side."""
    return [(2 * part + 1) * length // (2 * parts) for part in range(parts)]
