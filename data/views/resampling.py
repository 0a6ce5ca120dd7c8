"""Resizing of images and masks, and of windows that are cut out of them."""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import interpolate


class Span(NamedTuple):
    """``source`` whole pixels of a side, from ``start`` on, that are resized to ``length``."""

    start: int
    source: int
    length: int

    @property
    def scale(self) -> float:
        """Source pixels per pixel of the result."""
        return self.source / self.length

    @property
    def pixels(self) -> slice:
        """The source pixels."""
        return slice(self.start, self.start + self.source)

    def nearest(self) -> np.ndarray:
        """Return the source pixel that the centre of each pixel of the result lies in."""
        # (i + 1/2) · source / length in whole numbers: exact also where a centre lies on an edge
        return self.start + (2 * np.arange(self.length) + 1) * self.source // (2 * self.length)


def whole_span(pixels: int, factor: float) -> Span:
    """Return all of a side, resized by ``factor``."""
    return Span(0, pixels, max(1, round(pixels * factor)))


def resize(image: np.ndarray, rows: Span, columns: Span) -> np.ndarray:
    """Return the window ``rows`` × ``columns`` of H×W×3 uint8, resized to h×w×3 uint8.

    Bilinear with antialiasing, by the filter of Pillow's ``BILINEAR``; nothing outside of the
    window is looked at. PyTorch computes it in a third of Pillow's time; levels differ from
    Pillow's by one at most.
    """
    # a copy: PyTorch takes no read-only or mirrored arrays
    window = np.array(image[rows.pixels, columns.pixels])
    if window.shape[:2] == (rows.length, columns.length):
        return window
    # the axis of images comes first: PyTorch then sees a batch of channels-last images, and need
    # not take the colours of each pixel apart and together again
    channels = torch.from_numpy(window)[None].permute(0, 3, 1, 2)
    resized = antialiased(channels, (rows.length, columns.length))
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def antialiased(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return images B×3×H×W uint8 resized to ``size``, bilinearly with antialiasing."""
    resized: torch.Tensor = interpolate(images, size, mode="bilinear", antialias=True)
    return resized


def resize_mask(mask: np.ndarray, rows: Span, columns: Span) -> np.ndarray:
    """Return the window of a mask, resized to h×w: the class at each pixel's centre."""
    return mask.take(rows.nearest(), axis=0).take(columns.nearest(), axis=1)
