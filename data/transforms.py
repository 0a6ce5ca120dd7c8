"""Joint transforms of an image and its mask.

The order is that of Mask2Former's semantic training: resize, crop, colours, flip, then padding on the right and below.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from encoder_ablations.data.augmentation import AugmentationSpec
from encoder_ablations.data.photometric import distort
from encoder_ablations.data.sample import IGNORE, Sample

PADDING = 128
"""Value of padded image pixels, as in Mask2Former."""


def training_view(sample: Sample, spec: AugmentationSpec, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random crop: image crop_h×crop_w×3 uint8 (RGB) and mask crop_h×crop_w int64 (255 = ignore or padding).

    All randomness comes from ``rng``. The image is resized bilinearly with antialiasing (Pillow), the mask takes the
    nearest pixel; the crop is cut out in the same step, so that nothing outside it is computed.
    """
    if sample.mask is None:
        raise ValueError(f"sample '{sample.id}' has no mask to train on")
    height, width = sample.image.shape[:2]
    low, high = spec.scale
    factor = _short_side_factor(height, width, spec) * float(np.exp(rng.uniform(np.log(low), np.log(high))))
    rows = _random_span(height, factor, spec.crop[0], rng)
    columns = _random_span(width, factor, spec.crop[1], rng)

    image = _resize(sample.image, rows, columns)
    mask = sample.mask[rows.nearest()[:, None], columns.nearest()]
    if spec.photometric:
        image = distort(image, rng)
    pixels = np.asarray(image)
    if rng.random() < spec.flip:
        pixels, mask = pixels[:, ::-1], mask[:, ::-1]
    canvas = np.full((*spec.crop, 3), PADDING, np.uint8)
    labels = np.full(spec.crop, IGNORE, np.int64)
    canvas[: rows.length, : columns.length] = pixels
    labels[: rows.length, : columns.length] = mask
    return canvas, labels


def evaluation_view(sample: Sample, spec: AugmentationSpec) -> np.ndarray:
    """The whole image h×w×3 uint8, its shorter side resized to ``short_side``; the mask stays at its own size."""
    height, width = sample.image.shape[:2]
    factor = _short_side_factor(height, width, spec)
    if factor == 1:
        return sample.image
    return np.asarray(_resize(sample.image, _whole_span(height, factor), _whole_span(width, factor)))


class _Span(NamedTuple):
    """``length`` pixels from ``start`` on, along one side that is resized from ``source`` to ``full`` pixels."""

    start: int
    length: int
    full: int
    source: int

    @property
    def box(self) -> tuple[float, float]:
        """First and last coordinate in pixels of the source."""
        return self.start * self.source / self.full, (self.start + self.length) * self.source / self.full

    def nearest(self) -> np.ndarray:
        """For each pixel, the source pixel that its centre lies in."""
        centres = (self.start + np.arange(self.length) + 0.5) * self.source / self.full
        return np.minimum(centres.astype(np.int64), self.source - 1)


def _short_side_factor(height: int, width: int, spec: AugmentationSpec) -> float:
    return 1.0 if spec.short_side is None else spec.short_side / min(height, width)


def _whole_span(pixels: int, factor: float) -> _Span:
    full = max(1, round(pixels * factor))
    return _Span(0, full, full, pixels)


def _random_span(pixels: int, factor: float, crop: int, rng: np.random.Generator) -> _Span:
    """A random stretch of ``crop`` pixels along a side resized by ``factor``; all of it where it is shorter."""
    full = max(1, round(pixels * factor))
    length = min(crop, full)
    return _Span(int(rng.integers(0, full - length + 1)), length, full, pixels)


def _resize(image: np.ndarray, rows: _Span, columns: _Span) -> Image.Image:
    (top, bottom), (left, right) = rows.box, columns.box
    return Image.fromarray(image).resize(
        (columns.length, rows.length), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
    )
