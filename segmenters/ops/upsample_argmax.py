"""Upsampling and argmax in one pass: labels at full resolution without scores at full resolution."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from torch import Tensor

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.kernels import in_parallel
from encoder_ablations.utils.optional import no_place_for_kernels

STRIDE = 4
"""Image pixels per step of the maps, if nothing else is said: that of p2."""
BAND_ROWS = 8
"""Rows of the result that are worked on together, at most; they share two rows of the maps."""


class Taps(NamedTuple):
    """Between which two places of a map each pixel lies along one axis: (1 - t)·map[lower] + t·map[upper]."""

    lower: np.ndarray
    upper: np.ndarray
    t: np.ndarray


def upsample_argmax(
    maps: np.ndarray | Tensor,
    image_size: tuple[int, int],
    size: tuple[int, int],
    stride: int = STRIDE,
) -> np.ndarray:
    """The class with the largest score at every pixel, the first one where several are equal.

    Equal to ``upsample(maps[None], image_size, size, stride)[0].argmax(0)`` of
    :mod:`encoder_ablations.segmenters.scores`, up to rounding where two scores differ in their last digits. NaN counts
    as the largest, as in PyTorch; infinite scores are not supported (their bilinear mean is undefined).

    Where one class is first at all four corners of a cell of the maps, it is first everywhere in it, because bilinear
    values are means of the corners. Only the pixels of other cells are computed.

    Args:
        maps: K×h×w float32 on the CPU, class scores at ``stride`` of the padded image.
        image_size: (H, W) of the image without padding, H ≤ stride·h, W ≤ stride·w.
        size: (H0, W0) of the result, which covers the unpadded image.

    Returns:
        H0×W0 labels: uint8 for up to 255 classes, int16 for up to 32767, int64 beyond.

    Raises:
        InputError: no K×h×w float32 maps, or sizes that do not fit.
    """
    scores = np.ascontiguousarray(maps.detach().cpu().numpy() if isinstance(maps, Tensor) else maps)
    _check(scores, image_size, size, stride)
    try:  # here, because it brings numba: only when needed
        from encoder_ablations.segmenters.ops import upsample_argmax_numba as kernels
    except RuntimeError as error:
        raise no_place_for_kernels(error) from error

    classes, height, width = scores.shape
    divisible = stride * height == image_size[0] and stride * width == image_size[1]
    rows = _taps(height, image_size[0], size[0], stride, divisible)
    columns = _taps(width, image_size[1], size[1], stride, divisible)
    firsts = np.empty((height, width), np.int32)
    labels = np.empty(
        size, np.uint8 if classes <= 255 else np.int16 if classes <= 32767 else np.int64
    )
    bands = _bands(rows.lower)
    in_parallel(lambda first, last: kernels.argmax_rows(scores, firsts, first, last), height, 8)
    in_parallel(
        lambda first, last: kernels.label_bands(
            scores, firsts, rows, columns, bands, labels, first, last
        ),
        len(bands) - 1,
        4,
    )
    return labels


def _taps(source: int, pixels: int, target: int, stride: int, divisible: bool) -> Taps:
    """PyTorch's bilinear sampling (``align_corners=False``) along one axis, in its own float32 arithmetic.

    Args:
        source: length of the maps; pixels: of the image; target: of the result; stride: pixels per step of the maps.
        divisible: the image needed no padding. Otherwise ``scores.upsample`` gives PyTorch a factor in place of a size.
    """
    factor = stride * target / pixels
    step = np.float32(source) / np.float32(target) if divisible else np.float32(1 / factor)
    half = np.float32(0.5)
    position = np.maximum(step * (np.arange(target, dtype=np.float32) + half) - half, np.float32(0))
    lower = np.minimum(position.astype(np.int64), source - 1)
    t = np.clip(position - lower.astype(np.float32), 0, 1)
    return Taps(lower, np.minimum(lower + 1, source - 1), t)


def _bands(lower: np.ndarray) -> np.ndarray:
    """First row of each run of at most ``BAND_ROWS`` rows with equal ``lower``, and the number of rows at the end."""
    starts = [*np.flatnonzero(np.diff(lower, prepend=-1)), len(lower)]
    bands = [row for start, stop in pairwise(starts) for row in range(start, stop, BAND_ROWS)]
    return np.array([*bands, len(lower)])


def _check(
    scores: np.ndarray, image_size: tuple[int, int], size: tuple[int, int], stride: int
) -> None:
    if scores.ndim != 3 or scores.dtype != np.float32 or 0 in scores.shape:
        problem = "expected maps K×h×w of float32, none of them 0"
    elif any(
        not 0 < pixels <= stride * extent
        for pixels, extent in zip(image_size, scores.shape[1:], strict=True)
    ):
        problem = f"the maps must cover the image at stride {stride}, so its sides are between 1 and {stride} times theirs"
    elif min(size) < 1:
        problem = "the result must have at least one pixel"
    else:
        return
    given = (
        f"maps {scores.shape} {scores.dtype}, image_size {tuple(image_size)}, size {tuple(size)}"
    )
    raise InputError(f"upsample_argmax: {problem}. Given: {given}.")
