"""Overlapping windows over an image of any size, and their blended predictions.

Windows that overlap are weighted by a tapered cosine (Tukey) window: the weight rises over the
overlap as a Hann window does, and where windows overlap by half it is a Hann window. Towards the
image's border the weight stays 1, so that the border's pixels are predicted as surely as others.
Only one row of windows lies in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Source(Protocol):
    """An image that is read some rows at a time.

    Attributes:
        size: (H, W).
    """

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return the rows ``first`` to ``last - 1``: h×W×3 (RGB) or h×W (grey) uint8."""


class Band(NamedTuple):
    """Some rows of a prediction.

    Attributes:
        top: the first row.
        values: C×h×W float32.
    """

    top: int
    values: Tensor


class Side(NamedTuple):
    """The windows of one row or of one column, along the other side.

    Attributes:
        start: first pixel.
        weights: of its pixels, more than 0 and at most 1.
    """

    start: int
    weights: Tensor

    @property
    def stop(self) -> int:
        """The pixel after the last one."""
        return self.start + len(self.weights)


def sides(length: int, window: int, overlap: float) -> list[Side]:
    """Return the windows along one side of an image.

    They are ``window`` pixels long, and a side that is shorter is one window. The last one ends at
    the border, and so overlaps the one before by more than the others do.

    Args:
        length: pixels of the side.
        window: pixels of a window.
        overlap: share of a window that the next one covers, too; 0..1.
    """
    if length <= window:
        return [Side(0, torch.ones(length))]
    step = max(1, round(window * (1 - overlap)))
    starts = [*range(0, length - window, step), length - window]
    ramp = _ramp(min(window - step, window // 2))
    return [
        Side(start, _weights(window, ramp, start > 0, start + window < length)) for start in starts
    ]


def _ramp(pixels: int) -> Tensor:
    """Return the rising half of a Hann window, sampled at the middle of each pixel (never 0)."""
    middles = (torch.arange(pixels) + 0.5) / max(1, pixels)
    return 0.5 * (1 - torch.cos(torch.pi * middles))


def _weights(window: int, ramp: Tensor, before: bool, after: bool) -> Tensor:
    """Return a window's weights, which fall where another window lies ``before`` or ``after``."""
    weights = torch.ones(window)
    if before:
        weights[: len(ramp)] = ramp
    if after:
        weights[window - len(ramp) :] = ramp.flip(0)
    return weights


def blended(
    source: Source,
    window: int,
    overlap: float,
    batch: int,
    predict: Callable[[np.ndarray], Tensor],
    advance: Callable[[], object] = lambda: None,
) -> Iterator[Band]:
    """Yield the weighted mean of all windows' predictions, from top to bottom.

    Args:
        source: the image, H×W.
        window: side of the square windows in pixels.
        overlap: see :func:`sides`.
        batch: windows per call of ``predict``.
        predict: B×h×w×3 uint8 RGB -> C×h×w values of each window, as B×C×h×w.
        advance: called after every window, for progress.

    Yields:
        Bands that cover all rows once.
    """
    height, width = source.size
    rows, columns = sides(height, window, overlap), sides(width, window, overlap)
    # the first row of pixels that no later row of windows covers
    finished = [below.start for _, below in pairwise(rows)] + [height]
    carried: _Sums | None = None
    top = 0
    for row, bottom in zip(rows, finished, strict=True):
        pixels = as_rgb(source.rows(row.start, row.stop))
        found = _one_row(pixels, row, columns, batch, predict, advance)
        if carried is not None:
            found.add(carried)
        yield Band(top, found.mean(bottom - top))
        carried = found.below(bottom - top)
        top = bottom


class _Sums(NamedTuple):
    """Weighted sums of windows' values, C×h×W, and of their weights, h×W."""

    values: Tensor
    weights: Tensor

    def add(self, above: "_Sums") -> None:
        """Add what windows further up hold for the first rows of these."""
        rows = len(above.weights)
        self.values[:, :rows] += above.values
        self.weights[:rows] += above.weights

    def mean(self, rows: int) -> Tensor:
        """Return the weighted mean of the first rows, C×rows×W."""
        return self.values[:, :rows] / self.weights[:rows]

    def below(self, rows: int) -> "_Sums":
        """Return a copy of all but the first rows."""
        return _Sums(self.values[:, rows:].clone(), self.weights[rows:].clone())


def _one_row(
    pixels: np.ndarray,
    row: Side,
    columns: Sequence[Side],
    batch: int,
    predict: Callable[[np.ndarray], Tensor],
    advance: Callable[[], object],
) -> _Sums:
    """Return the sums over one row of windows, whose pixels are h×W×3."""
    sums: _Sums | None = None
    for first in range(0, len(columns), batch):
        part = columns[first : first + batch]
        found = predict(np.stack([pixels[:, side.start : side.stop] for side in part])).cpu()
        if sums is None:
            size = pixels.shape[:2]
            sums = _Sums(torch.zeros(found.shape[1], *size), torch.zeros(size))
        for side, values in zip(part, found, strict=True):
            weights = row.weights[:, None] * side.weights[None, :]
            sums.values[:, :, side.start : side.stop] += weights * values
            sums.weights[:, side.start : side.stop] += weights
            advance()
    assert sums is not None
    return sums


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Return grey levels H×W as H×W×3; colours stay as they are."""
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels


def number_of_windows(size: tuple[int, int], window: int, overlap: float) -> int:
    """Return how many windows cover an image of (H, W)."""
    return len(sides(size[0], window, overlap)) * len(sides(size[1], window, overlap))
