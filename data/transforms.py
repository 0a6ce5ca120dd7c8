"""Joint transforms of an image and its mask.

The order is that of Mask2Former's semantic training: resize, crop, colours, flip, then padding on the right and below.
What is not part of that training is off by default: rotation and bending come with the crop, turns at the end.
"""

from dataclasses import replace

import numpy as np

from encoder_ablations.data.augmentation import AugmentationSpec
from encoder_ablations.data.photometric import distort
from encoder_ablations.data.resampling import Span, resize, whole_span
from encoder_ablations.data.sample import Sample, mask_type
from encoder_ablations.data.warps import draw_places, is_warped, warped

PADDING = 128
"""Value of padded image pixels, as in Mask2Former."""


def training_view(sample: Sample, spec: AugmentationSpec, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random crop: image 3×crop_h×crop_w uint8 (RGB) and mask crop_h×crop_w (``sample.ignore`` = ignore or padding).

    The mask is uint8, or uint16 where the sample has more than 255 classes. All randomness comes from ``rng``. The
    image is resized bilinearly with antialiasing, the mask takes the nearest pixel; the crop is cut out in the same
    step, so that nothing outside it is computed.
    """
    if spec.resize_first:
        sample = shrink(sample, spec.short_side)
    mask = sample.mask
    if mask is None:
        raise ValueError(f"sample '{sample.id}' has no mask to train on")
    height, width = sample.image.shape[:2]
    low, high = spec.scale
    factor = _short_side_factor(height, width, spec) * float(np.exp(rng.uniform(np.log(low), np.log(high))))
    rows = _random_span(height, factor, spec.crop[0], rng)
    columns = _random_span(width, factor, spec.crop[1], rng)

    taken = rows.nearest(), columns.nearest()
    if is_warped(spec):
        places = draw_places(rows, columns, spec, rng)
        pixels, mask = warped(sample.image, mask, rows, columns, places, PADDING, sample.ignore)
        taken = np.arange(rows.length), np.arange(columns.length)
    else:
        pixels = resize(sample.image, rows, columns)
    if spec.photometric:
        pixels = distort(pixels, rng)
    flip = bool(rng.random() < spec.flip)
    image, labels = _on_canvas(pixels, mask, sample.ignore, *taken, flip, spec.crop)
    return _turned(image, labels, spec, rng)


def shrink(sample: Sample, short_side: int | None) -> Sample:
    """The sample with its shorter side resized to ``short_side``, its mask by the nearest pixel; None = as it is.

    Its ``size`` stays that of the file.
    """
    height, width = sample.image.shape[:2]
    if short_side is None or min(height, width) == short_side:
        return sample
    rows, columns = (whole_span(pixels, short_side / min(height, width)) for pixels in (height, width))
    mask = None if sample.mask is None else sample.mask[rows.nearest()[:, None], columns.nearest()]
    return replace(sample, image=resize(sample.image, rows, columns), mask=mask)


def evaluation_view(sample: Sample, spec: AugmentationSpec) -> np.ndarray:
    """The whole image h×w×3 uint8, its shorter side resized to ``short_side``; the mask stays at its own size."""
    height, width = sample.image.shape[:2]
    factor = _short_side_factor(height, width, spec)
    if factor == 1:
        return sample.image
    return resize(sample.image, whole_span(height, factor), whole_span(width, factor))


def _turned(
    image: np.ndarray, mask: np.ndarray, spec: AugmentationSpec, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Upside down and by quarter turns, with the probabilities that are set."""
    if spec.vertical_flip and rng.random() < spec.vertical_flip:
        image, mask = image[:, ::-1], mask[::-1]
    if spec.quarter_turns and rng.random() < spec.quarter_turns:
        turns = int(rng.integers(1, 4))
        image, mask = np.rot90(image, turns, (1, 2)), np.rot90(mask, turns)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def _short_side_factor(height: int, width: int, spec: AugmentationSpec) -> float:
    return 1.0 if spec.short_side is None else spec.short_side / min(height, width)


def _random_span(pixels: int, factor: float, crop: int, rng: np.random.Generator) -> Span:
    """A random stretch of ``crop`` pixels along a side resized by ``factor``; all of it where it is shorter."""
    full = max(1, round(pixels * factor))
    length = min(crop, full)
    return Span(int(rng.integers(0, full - length + 1)), length, full, pixels)


def _on_canvas(
    pixels: np.ndarray,
    mask: np.ndarray,
    ignore: int,
    rows: np.ndarray,
    columns: np.ndarray,
    flip: bool,
    crop: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels and the mask's pixels at ``rows`` × ``columns``, mirrored on demand, in the top left of a crop."""
    from encoder_ablations.data import pixel_kernels as kernels  # brings numba: only when needed

    canvas, labels = np.empty((3, *crop), np.uint8), np.empty(crop, mask_type(ignore))
    columns = columns[::-1] if flip else columns
    places = rows.astype(np.uintp), columns.astype(np.uintp)
    kernels.place_view(pixels, mask, *places, flip, PADDING, ignore, canvas, labels)
    return canvas, labels
