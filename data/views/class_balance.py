"""Windows of an image that show rare classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encoder_ablations.data.views.augmentation import ClassBalanceSpec
from encoder_ablations.data.views.resampling import Span, resize_mask

TRIES = 10
"""How often a window is drawn again, as in MMSegmentation and DAFormer."""


class Window(NamedTuple):
    """The part of an image that becomes a crop."""

    rows: Span
    columns: Span


class ClassBalance:
    """Chooses windows by the classes that they show.

    Args:
        spec: what a window has to show.
        pixels: of each of the K classes in all training images of the run.
    """

    def __init__(self, spec: ClassBalanceSpec, pixels: Sequence[int]) -> None:
        self._spec = spec
        counts = np.asarray(pixels, np.float64)
        self._frequencies = counts / max(1.0, counts.sum())

    def window(self, mask: np.ndarray, first: Window, rng: np.random.Generator) -> Window:
        """Return a window of the size of ``first``: the first that fits, or the last one tried.

        Args:
            mask: H×W class ids; ids that are no class are ignored.
            first: is tried first, unless the window has to show a class that is drawn.
            rng: draws classes and windows.
        """
        wanted = self.draw_class(mask, rng)
        pixels = None
        if wanted is not None:
            pixels = np.flatnonzero(mask == wanted)
            first = _window_with(pixels, mask.shape, first, rng)
        window = first
        for _ in range(TRIES):
            if self._fits(resize_mask(mask, *window), wanted):
                break
            window = _window_with(pixels, mask.shape, window, rng)
        return window

    def draw_class(self, mask: np.ndarray, rng: np.random.Generator) -> int | None:
        """Return a class of the mask, rare ones more often; None where no class is to be drawn."""
        present = np.flatnonzero(self._counts(mask))
        if self._spec.temperature is None or not len(present):
            return None
        # eq. 7 of DAFormer, over the classes of this image; the largest exponent becomes 0
        exponents = (1 - self._frequencies[present]) / self._spec.temperature
        weights = np.exp(exponents - exponents.max())
        return int(rng.choice(present, p=weights / weights.sum()))

    def _fits(self, labels: np.ndarray, wanted: int | None) -> bool:
        """Return whether a crop's mask h×w shows what it has to."""
        counts = self._counts(labels)
        if wanted is not None and counts[wanted] < (self._spec.least_pixels or 1):
            return False
        # as in MMSegmentation, a crop without labelled pixels does not fit either
        largest_share = counts.max() / max(1, counts.sum())
        return self._spec.max_share is None or 0 < largest_share < self._spec.max_share

    def _counts(self, mask: np.ndarray) -> np.ndarray:
        """Return the pixels of each of the K classes in a mask."""
        classes = len(self._frequencies)
        return np.bincount(mask.ravel(), minlength=classes)[:classes]


def balance_of(spec: ClassBalanceSpec | None, pixels: Sequence[int] | None) -> ClassBalance | None:
    """Return what chooses windows; None where the settings ask for nothing.

    Raises:
        ValueError: the pixels of the classes are not given.
    """
    if spec is None:
        return None
    if pixels is None:
        raise ValueError("class_balance needs class_pixels, those of the training images")
    return ClassBalance(spec, pixels)


def _window_with(
    pixels: np.ndarray | None, shape: tuple[int, ...], size: Window, rng: np.random.Generator
) -> Window:
    """Return a random window of the size of another, with one of some pixels in it.

    Args:
        pixels: their places in the flattened mask; None = the window may lie anywhere.
        shape: H, W of the mask.
        size: the other window.
        rng: draws the pixel, then the window around it.
    """
    height, width = shape
    if pixels is None:
        return Window(_anywhere(size.rows, height, rng), _anywhere(size.columns, width, rng))
    row, column = divmod(int(pixels[rng.integers(len(pixels))]), width)
    rows = _around(row, size.rows, height, rng)
    return Window(rows, _around(column, size.columns, width, rng))


def _anywhere(span: Span, side: int, rng: np.random.Generator) -> Span:
    """Return a span of the same length at a random place of a side."""
    return span._replace(start=int(rng.integers(0, side - span.source + 1)))


def _around(place: int, span: Span, side: int, rng: np.random.Generator) -> Span:
    """Return a span of the same length that holds a place, at a random one of its positions."""
    first = max(0, place - span.source + 1)
    last = min(place, side - span.source)
    return span._replace(start=int(rng.integers(first, last + 1)))
