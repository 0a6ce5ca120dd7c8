"""Upsampling and argmax in one pass: labels at full resolution without scores of that size."""

from itertools import pairwise
from types import ModuleType
from typing import NamedTuple

import numpy as np
from torch import Tensor

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.kernels import in_parallel
from encoder_ablations.utils.optional import no_place_for_kernels

STRIDE = 4
"""Default of the image pixels per step of the maps: the stride of p2."""
BAND = 8
"""Most rows of the result that are worked on together; they share two rows of the maps. The same
holds for columns."""
LABEL_TYPES = (np.uint8, np.int16, np.int64)
"""The smallest that holds all class ids, and one more value, is taken."""


class Taps(NamedTuple):
    """The two places of a map between which each pixel lies along one axis.

    A pixel's value is (1 - t)·map[lower] + t·map[upper].
    """

    lower: np.ndarray
    upper: np.ndarray
    t: np.ndarray


class Columns(NamedTuple):
    """The columns of the result in G groups of n.

    All columns of a group lie between the same two columns of the maps. Where there are fewer than
    n, the last one is repeated.

    Attributes:
        lower: G columns of the maps.
        upper: G columns of the maps.
        t: n×G, the weight of ``upper``.
        pixels: n×G columns of the result, rising.
    """

    lower: np.ndarray
    upper: np.ndarray
    t: np.ndarray
    pixels: np.ndarray


def upsample_argmax(
    maps: np.ndarray | Tensor,
    image_size: tuple[int, int],
    size: tuple[int, int],
    stride: float = STRIDE,
) -> np.ndarray:
    """Return the class with the largest score at every pixel, the first one of equal ones.

    Equal to ``upsample(maps[None], image_size, size, stride)[0].argmax(0)`` of
    :mod:`encoder_ablations.segmenters.scores`, up to rounding where two scores differ in their last
    digits. NaN counts as the largest, as in PyTorch; infinite scores have no bilinear mean.

    Where one class is first at all four corners of a cell of the maps, it is first everywhere in
    it, because bilinear values are means of the corners. Only the pixels of other cells are
    computed.

    Args:
        maps: K×h×w float32 on the CPU, without gradient: class scores at ``stride`` of the
            padded image.
        image_size: (H, W) of the image without padding, H ≤ stride·h, W ≤ stride·w.
        size: (H0, W0) of the result, which covers the unpadded image.
        stride: image pixels per step of the maps.

    Returns:
        H0×W0 labels: uint8 for up to 255 classes, int16 for up to 32767, int64 beyond.

    Raises:
        InputError: the maps are not K×h×w float32, or the sizes do not fit.
    """
    scores = np.ascontiguousarray(maps)
    _check(scores, image_size, size, stride)
    kernels = _kernels()
    classes, height, width = scores.shape
    divisible = stride * height == image_size[0] and stride * width == image_size[1]
    rows = _taps(height, image_size[0], size[0], stride, divisible)
    columns = _grouped(_taps(width, image_size[1], size[1], stride, divisible))
    firsts = np.empty((height, width), np.int32)
    labels = np.empty(size, next(kind for kind in LABEL_TYPES if classes <= np.iinfo(kind).max))
    bands = _bands(rows.lower, BAND)

    def find_firsts(first: int, last: int) -> None:
        kernels.argmax_rows(scores, firsts, first, last)

    def label(first: int, last: int) -> None:
        kernels.label_bands(scores, firsts, rows, columns, bands, labels, first, last)

    # first the largest class at each step of the maps, then the pixels between them
    in_parallel(find_firsts, height, 8)
    in_parallel(label, len(bands) - 1, 4)
    return labels


def _kernels() -> ModuleType:
    """Return the compiled loops; imported when they are needed, because numba takes a second."""
    try:
        from encoder_ablations.segmenters.ops import upsample_argmax_numba
    except RuntimeError as error:
        raise no_place_for_kernels(error) from error
    return upsample_argmax_numba


def _taps(source: int, pixels: int, target: int, stride: float, divisible: bool) -> Taps:
    """Return PyTorch's bilinear sampling (``align_corners=False``) along one axis.

    The arithmetic is PyTorch's own, in float32.

    Args:
        source: length of the maps.
        pixels: length of the image without padding.
        target: length of the result.
        stride: image pixels per step of the maps.
        divisible: whether the image needed no padding. Otherwise ``scores.upsample`` gives PyTorch
            a factor in place of a size.
    """
    factor = stride * target / pixels
    step = np.float32(1 / factor)
    if divisible:
        step = np.float32(source) / np.float32(target)
    # pixel centres in steps of the maps; before the first centre the map is constant
    half = np.float32(0.5)
    position = np.maximum(step * (np.arange(target, dtype=np.float32) + half) - half, np.float32(0))
    lower = np.minimum(position.astype(np.int64), source - 1)
    t = np.clip(position - lower.astype(np.float32), 0, 1)
    return Taps(lower, np.minimum(lower + 1, source - 1), t)


def _bands(lower: np.ndarray, most: int) -> np.ndarray:
    """Return the first row of each band, and the number of rows at the end.

    A band has at most ``most`` rows, which all have the same ``lower``.
    """
    starts = [*np.flatnonzero(np.diff(lower, prepend=-1)), len(lower)]
    bands = [row for start, stop in pairwise(starts) for row in range(start, stop, most)]
    return np.array([*bands, len(lower)])


def _grouped(taps: Taps) -> Columns:
    """Return the columns in groups of as many as lie between two columns of the maps."""
    usual = round(len(taps.lower) / (taps.lower[-1] + 1))
    number = min(max(usual, 1), BAND)
    bounds = _bands(taps.lower, number)
    first, last = bounds[:-1], bounds[1:] - 1
    pixels = np.minimum(first + np.arange(number)[:, None], last)
    return Columns(taps.lower[first], taps.upper[first], taps.t[pixels], pixels)


def _check(
    scores: np.ndarray, image_size: tuple[int, int], size: tuple[int, int], stride: float
) -> None:
    problem = _problem(scores, image_size, size, stride)
    if problem:
        raise InputError(
            f"upsample_argmax: {problem}. Given: maps {scores.shape} {scores.dtype}, "
            f"image_size {tuple(image_size)}, size {tuple(size)}."
        )


def _problem(
    scores: np.ndarray, image_size: tuple[int, int], size: tuple[int, int], stride: float
) -> str | None:
    """Return why the arguments do not fit together; None if they do."""
    if scores.ndim != 3 or scores.dtype != np.float32 or 0 in scores.shape:
        return "expected maps K×h×w of float32, none of them 0"
    covered = np.multiply(stride, scores.shape[1:])
    if min(image_size) < 1 or np.any(image_size > covered):
        return (
            f"the maps must cover the image at stride {stride}, so its sides are between 1 "
            f"and {stride} times theirs"
        )
    if min(size) < 1:
        return "the result must have at least one pixel"
    return None
