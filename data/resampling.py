"""Bilinear resizing with antialiasing of a part of an image: Pillow's, bit for bit, without resizing the rest."""

from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """``length`` pixels from ``start`` on, along one side that is resized from ``source`` to ``full`` pixels."""

    start: int
    length: int
    full: int
    source: int

    @property
    def box(self) -> tuple[float, float]:
        """First and last coordinate in pixels of the source."""
        return self.start * self.source / self.full, (self.start + self.length) * self.source / self.full

    @property
    def whole(self) -> bool:
        """Nothing is resized or cut."""
        return self.start == 0 and self.length == self.full == self.source

    def nearest(self) -> np.ndarray:
        """For each pixel, the source pixel that its centre lies in."""
        centres = (self.start + np.arange(self.length) + 0.5) * self.source / self.full
        return np.minimum(centres.astype(np.int64), self.source - 1)


def whole_span(pixels: int, factor: float) -> Span:
    """All of a side, resized by ``factor``."""
    full = max(1, round(pixels * factor))
    return Span(0, full, full, pixels)


def resize(image: np.ndarray, rows: Span, columns: Span) -> np.ndarray:
    """The part ``rows`` × ``columns`` of the resized image, h×w×3 uint8, of H×W×3 uint8.

    Equal to ``Image.fromarray(image).resize(…, Image.Resampling.BILINEAR, box=…)``: weights in fixed point with 22
    binary digits, and rounding to 8 bits after the rows and again after the columns.
    """
    from encoder_ablations.data import pixel_kernels as kernels  # brings numba: only when needed

    row_filter = _filter(rows.source, rows.length, *map(np.float32, rows.box))
    column_filter = _filter(columns.source, columns.length, *map(np.float32, columns.box))
    first, last = int(row_filter.firsts[0]), row_filter.last
    image = np.ascontiguousarray(image)
    if columns.whole:
        narrow = image[first:last]
    else:
        narrow = np.empty((last - first, columns.length, 3), np.uint8)
        kernels.filter_columns(image, first, column_filter.firsts.astype(np.uintp), column_filter.weights, narrow)
    if rows.whole:
        return narrow
    result = np.empty((rows.length, columns.length, 3), np.uint8)
    flat = narrow.reshape(last - first, -1)
    kernels.filter_rows(flat, row_filter.firsts - first, row_filter.weights, result.reshape(rows.length, -1))
    return result


class _Filter(NamedTuple):
    """Each of n pixels is Σ weights[n, tap] · source[firsts[n] + tap], in units of 2^-22.

    Attributes:
        last: where the source pixels end that are needed.
    """

    firsts: np.ndarray
    weights: np.ndarray
    last: int


def _filter(source: int, length: int, begin: np.float32, end: np.float32) -> _Filter:
    """A triangle as wide as two pixels of the result, but at least of the source (``precompute_coeffs`` in Pillow)."""
    scale = float(end - begin) / length
    stretch = max(scale, 1.0)
    centres = float(begin) + (np.arange(length) + 0.5) * scale
    lows = np.maximum((centres - stretch + 0.5).astype(np.int64), 0)
    highs = np.minimum((centres + stretch + 0.5).astype(np.int64), source)
    taps = int((highs - lows).max())
    # every pixel has the same number of taps: those at the end of the source begin earlier, with weights 0
    firsts = np.maximum(np.minimum(lows, source - taps), 0)
    places = firsts[:, None] + np.arange(taps)
    weights = 1.0 - np.abs((places - centres[:, None] + 0.5) * (1.0 / stretch))
    weights[(weights < 0) | (places < lows[:, None]) | (places >= highs[:, None])] = 0.0
    total = np.zeros(length)
    for tap in range(taps):  # in this order, as Pillow adds them up
        total += weights[:, tap]
    weights /= total[:, None]
    fixed = (0.5 + weights * (1 << 22)).astype(np.int32)
    return _Filter(firsts, fixed, int(highs.max()))
