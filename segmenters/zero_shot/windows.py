"""Overlapping windows over an image, and the mean of what each says."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Window = tuple[slice, slice]
"""Rows and columns."""


def resized_size(
    size: tuple[int, int], short_side: int | None, long_side: int | None
) -> tuple[int, int]:
    """Return (H, W) after resizing with equal factors for both sides, at least 1 pixel each.

    The factor is the largest at which neither limit is exceeded, as in mmcv's ``imrescale``.

    Args:
        size: (H, W).
        short_side: pixels of the short side; None = no limit.
        long_side: pixels of the long side; None = no limit.
    """
    factors = []
    if short_side is not None:
        factors.append(short_side / min(size))
    if long_side is not None:
        factors.append(long_side / max(size))
    factor = min(factors, default=1.0)
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def windows_of(size: tuple[int, int], window: int | None, stride: int) -> list[Window]:
    """Return windows that cover every pixel of an image, row by row.

    All of them have the same size: a side that is shorter than ``window`` is one window. The last
    one ends at the border.

    Args:
        size: (H, W) of the image.
        window: side in pixels; None = the whole image is one window.
        stride: distance of neighbouring windows, at most ``window``.
    """
    if window is None:
        return [(slice(0, size[0]), slice(0, size[1]))]
    rows, columns = (_slices(side, window, stride) for side in size)
    return [(row, column) for row in rows for column in columns]


def _slices(length: int, window: int, stride: int) -> list[slice]:
    last = max(0, length - window)
    starts = [*range(0, last, stride), last]
    return [slice(start, min(start + window, length)) for start in starts]


def mean_over_windows(
    windows: Sequence[Window],
    size: tuple[int, int],
    batch: int,
    score: Callable[[Sequence[Window]], Tensor],
) -> Tensor:
    """Return the mean Q×H×W of all windows' scores at every pixel.

    Args:
        windows: they cover every pixel.
        size: (H, W) of the image.
        batch: windows per call of ``score``.
        score: n windows of one size -> n×Q×h×w.
    """
    sums, counts = torch.zeros(0), torch.zeros(0)
    for first in range(0, len(windows), batch):
        part = windows[first : first + batch]
        found = score(part)
        if not sums.numel():
            sums, counts = found.new_zeros(found.shape[1], *size), found.new_zeros(size)
        for (rows, columns), each in zip(part, found, strict=True):
            sums[:, rows, columns] += each
            counts[rows, columns] += 1
    return sums / counts


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps B×C×H×W at another size, bilinearly (half-pixel centres)."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
