"""Overlapping windows over an image of any size, and their blended predictions.

Windows that overlap are weighted by a tapered cosine (Tukey) window: the weight rises over the
overlap as a Hann window does, and where windows overlap by half it is a Hann window. Towards the
image's border the weight stays 1, so that the border's pixels are predicted as surely as others.
Only one row of windows lies in memory, and of a very wide image only a strip of it.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

STRIP = 1536
"""Columns that are predicted together: the sums of a row of windows need much memory."""


BAND = 64
"""Most rows of a block: what is done with a block needs several times its memory."""


class Source(Protocol):
    """An image that is read piece by piece."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""

    def block(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of the image: h×w×3 (RGB) or h×w (grey) uint8."""


class Block(NamedTuple):
    """A part of a prediction.

    Attributes:
        rows, columns: which pixels of the image.
        values: C×h×w float32.
    """

    rows: slice
    columns: slice
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


class _Strip(NamedTuple):
    """Columns that are predicted together.

    Attributes:
        start, stop: the columns that the strip yields.
        windows: all windows that lie over them; the first and the last may reach beyond.
    """

    start: int
    stop: int
    windows: list[Side]

    @property
    def first(self) -> int:
        """The first column of any window."""
        return self.windows[0].start

    @property
    def last(self) -> int:
        """The column behind all windows."""
        return self.windows[-1].stop


def _strips(windows: Sequence[Side], width: int) -> list[_Strip]:
    """Divide W columns into strips of at most ``STRIP``; a window may lie in two of them."""
    found = []
    for start in range(0, width, STRIP):
        stop = min(start + STRIP, width)
        over = [side for side in windows if side.start < stop and side.stop > start]
        found.append(_Strip(start, stop, over))
    return found


def blended(
    source: Source,
    window: int,
    overlap: float,
    batch: int,
    predict: Callable[[np.ndarray], Tensor],
    advance: Callable[[], object] = lambda: None,
) -> Iterator[Block]:
    """Yield the weighted mean of all windows' predictions.

    Args:
        source: the image, H×W.
        window: side of the square windows in pixels.
        overlap: see :func:`sides`.
        batch: windows per call of ``predict``.
        predict: B×h×w×3 uint8 RGB -> C×h×w values of each window, as B×C×h×w.
        advance: called after every window, for progress.

    Yields:
        Blocks that cover every pixel once: strips from left to right, each from top to bottom.
    """
    height, width = source.size
    rows, columns = sides(height, window, overlap), sides(width, window, overlap)
    for strip in _strips(columns, width):
        predicted = _Windows(source, strip, batch, predict, advance)
        yield from _blended_strip(rows, height, strip, predicted)


def _blended_strip(
    rows: Sequence[Side], height: int, strip: _Strip, predicted: "_Windows"
) -> Iterator[Block]:
    """Yield the blocks of one strip from top to bottom."""
    # a row of pixels is finished when no later row of windows lies over it
    finished = [below.start for _, below in pairwise(rows)] + [height]
    columns = slice(strip.start, strip.stop)
    carried: _Sums | None = None
    top = 0
    for row, bottom in zip(rows, finished, strict=True):
        found = predicted.sums(row)
        if carried is not None:
            found.add(carried)
        carried = found.below(bottom - top)
        # few rows at a time, because the consumer needs several copies of what it gets
        for first in range(0, bottom - top, BAND):
            last = min(first + BAND, bottom - top)
            means = found.means(first, last)
            yield Block(slice(top + first, top + last), columns, means[:, :, _within(strip)])
        del found
        top = bottom


def _within(strip: _Strip) -> slice:
    """Return which of the columns under a strip's windows the strip yields."""
    return slice(strip.start - strip.first, strip.stop - strip.first)


class _Sums(NamedTuple):
    """Weighted sums of windows' values, C×h×w, and of their weights, h×w."""

    values: Tensor
    weights: Tensor

    def add(self, above: "_Sums") -> None:
        """Add what windows further up hold for the first rows of these."""
        rows = len(above.weights)
        self.values[:, :rows] += above.values
        self.weights[:rows] += above.weights

    def means(self, first: int, last: int) -> Tensor:
        """Return the weighted means of the rows ``first`` to ``last - 1``, C×rows×w."""
        return self.values[:, first:last] / self.weights[first:last]

    def below(self, rows: int) -> "_Sums":
        """Return a copy of all but the first rows."""
        return _Sums(self.values[:, rows:].clone(), self.weights[rows:].clone())


class _Windows(NamedTuple):
    """The windows of a strip, and how they are predicted; see :func:`blended`."""

    source: Source
    strip: _Strip
    batch: int
    predict: Callable[[np.ndarray], Tensor]
    advance: Callable[[], object]

    def sums(self, row: Side) -> _Sums:
        """Return the sums over one row of windows."""
        under = slice(self.strip.first, self.strip.last)
        pixels = as_rgb(self.source.block(slice(row.start, row.stop), under))
        size = pixels.shape[:2]
        sums = _Sums(torch.zeros(0), torch.zeros(size))
        windows = self.strip.windows
        for first in range(0, len(windows), self.batch):
            part = windows[first : first + self.batch]
            places = [self._place(side) for side in part]
            found = self.predict(np.stack([pixels[:, place] for place in places])).cpu()
            if not sums.values.numel():
                sums = sums._replace(values=torch.zeros(found.shape[1], *size))
            for side, place, values in zip(part, places, found, strict=True):
                weights = row.weights[:, None] * side.weights[None, :]
                sums.values[:, :, place] += weights * values
                sums.weights[:, place] += weights
                self.advance()
        return sums

    def _place(self, side: Side) -> slice:
        """Return a window's columns among those under all windows of the strip."""
        return slice(side.start - self.strip.first, side.stop - self.strip.first)


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Return grey levels H×W as H×W×3; colours stay as they are."""
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return pixels


def number_of_windows(size: tuple[int, int], window: int, overlap: float) -> int:
    """Return how many windows are predicted for an image of (H, W); some lie in two strips."""
    rows, columns = (sides(side, window, overlap) for side in size)
    return len(rows) * sum(len(strip.windows) for strip in _strips(columns, size[1]))
