"""Joint transforms of an image and its mask.

The order is that of Mask2Former's semantic training: resize, crop, colours, flip, then padding on
the right and below. What is not part of that training is off by default: rotation and bending come
with the crop, blur and the like after the colours, turns at the end. A user's own transforms come
last.
"""

from dataclasses import replace

import cv2
import numpy as np

from encoder_ablations.data.datasets.sample import Sample, mask_type
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.class_balance import ClassBalance, Window
from encoder_ablations.data.views.custom import apply_custom
from encoder_ablations.data.views.degradations import degrade
from encoder_ablations.data.views.photometric import distort
from encoder_ablations.data.views.resampling import Span, resize, resize_mask, whole_span
from encoder_ablations.data.views.warps import draw_places, is_warped, warped
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import substream

PADDING = 128
"""Value of padded image pixels, as in Mask2Former."""
TRIALS = 8
"""How often a user's own transforms are tried on the same sample."""


def training_view(
    sample: Sample,
    spec: AugmentationSpec,
    rng: np.random.Generator,
    balance: ClassBalance | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random crop: image 3×crop_h×crop_w uint8 (RGB) and mask crop_h×crop_w.

    ``sample.ignore`` stands for ignored and padded pixels of the mask, which is uint8, or uint16
    where the sample has more than 255 classes. A window of whole pixels is cut out, then resized to
    the crop: the image bilinearly with antialiasing, the mask by the nearest pixel. So the drawn
    factor is rounded, in each direction, to one that a whole window has. The mask of a whole
    image's class stays 1×1.

    Args:
        sample: an image with its mask.
        spec: the settings.
        rng: all randomness comes from it; of this view alone, as its seed has further streams.
        balance: chooses the window by its classes; None = anywhere in the image.

    Raises:
        InputError: a user's own transform fails or returns something else.
    """
    if sample.is_labelled_as_a_whole:
        return _labelled_view(sample, spec, rng)
    if spec.resize_first:
        sample = shrink(sample, spec.short_side)
    mask = sample.mask
    if mask is None:
        raise ValueError(f"sample '{sample.id}' has no mask to train on")
    height, width = sample.image.shape[:2]
    low, high = spec.scale
    drawn = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    factor = _short_side_factor(height, width, spec) * drawn
    rows = _random_span(height, factor, spec.crop[0], rng)
    columns = _random_span(width, factor, spec.crop[1], rng)
    if balance is not None:
        first = Window(rows, columns)
        rows, columns = balance.window(mask, first, substream(rng, "class balance"))
    pixels, labels = _cut_out(sample.image, mask, sample.ignore, Window(rows, columns), spec, rng)
    if spec.photometric:
        pixels = distort(pixels, rng, spec.photometric)
    pixels = degrade(pixels, spec, rng)
    if rng.random() < spec.flip:
        pixels, labels = cv2.flip(pixels, 1), cv2.flip(labels, 1)
    crop = _turned(*_padded(pixels, labels, sample.ignore, spec.crop), spec, rng)
    return apply_custom(*crop, spec.custom, sample.ignore, rng)


def _cut_out(
    image: np.ndarray,
    mask: np.ndarray,
    ignore: int,
    window: Window,
    spec: AugmentationSpec,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return a window of image and mask at its size in the crop, warped if that is set."""
    rows, columns = window
    if is_warped(spec):
        places = draw_places(rows, columns, spec, rng)
        return warped(image, mask, rows, columns, places, PADDING, ignore)
    labels = resize_mask(mask, rows, columns).astype(mask_type(ignore), copy=False)
    return resize(image, rows, columns), labels


def _labelled_view(
    sample: Sample, spec: AugmentationSpec, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random crop of an image that has one class, and its mask 1×1.

    The image goes the way of every other, under a mask that holds its class everywhere.
    """
    assert sample.mask is not None
    everywhere = np.full_like(sample.mask, sample.mask.item(), shape=sample.image.shape[:2])
    image, _ = training_view(replace(sample, mask=everywhere), spec, rng)
    return image, sample.mask.astype(mask_type(sample.ignore), copy=False)


def try_custom(sample: Sample, spec: AugmentationSpec) -> None:
    """Try a user's own transforms out on one sample.

    Raises:
        InputError: one fails, or its result does not follow from image, mask and ``rng``.
    """
    if not spec.custom:
        return
    image, mask = training_view(sample, spec, np.random.default_rng(0))
    # a coin that is thrown elsewhere may fall twice on the same side
    for _ in range(TRIALS - 1):
        again = training_view(sample, spec, np.random.default_rng(0))
        if not (np.array_equal(image, again[0]) and np.array_equal(mask, again[1])):
            raise InputError(
                f"{', '.join(spec.custom)}: the same sample and the same rng gave two different "
                "crops. Draw all random numbers from rng, and keep nothing from one call to the "
                "next."
            )


def shrink(sample: Sample, short_side: int | None) -> Sample:
    """Return the sample with its shorter side resized to ``short_side``; None = as it is.

    The mask is resized by the nearest pixel. The sample's ``size`` stays that of the file.
    """
    height, width = sample.image.shape[:2]
    if short_side is None or min(height, width) == short_side:
        return sample
    factor = short_side / min(height, width)
    rows, columns = whole_span(height, factor), whole_span(width, factor)
    mask = sample.mask
    if mask is not None and not sample.is_labelled_as_a_whole:
        mask = resize_mask(mask, rows, columns)
    return replace(sample, image=resize(sample.image, rows, columns), mask=mask)


def evaluation_view(sample: Sample, spec: AugmentationSpec) -> np.ndarray:
    """Return the whole image, h×w×3 uint8, its shorter side resized to ``short_side``."""
    return at_short_side(sample.image, spec.short_side)


def at_short_side(image: np.ndarray, short_side: int | None) -> np.ndarray:
    """Return an image H×W×3 uint8 with its shorter side resized to ``short_side``; None = as is."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    factor = (short_side or shorter) / shorter
    if factor == 1:
        return image
    return resize(image, whole_span(height, factor), whole_span(width, factor))


def _turned(
    image: np.ndarray, mask: np.ndarray, spec: AugmentationSpec, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turn upside down and by quarter turns, with the probabilities that are set."""
    if spec.vertical_flip and rng.random() < spec.vertical_flip:
        image, mask = image[:, ::-1], mask[::-1]
    if spec.quarter_turns and rng.random() < spec.quarter_turns:
        turns = int(rng.integers(1, 4))
        image, mask = np.rot90(image, turns, (1, 2)), np.rot90(mask, turns)
    return np.ascontiguousarray(image), np.ascontiguousarray(mask)


def _short_side_factor(height: int, width: int, spec: AugmentationSpec) -> float:
    shorter = min(height, width)
    return (spec.short_side or shorter) / shorter


def _random_span(pixels: int, factor: float, crop: int, rng: np.random.Generator) -> Span:
    """Return a random window along a side that gives ``crop`` pixels when resized by ``factor``.

    A side that gives fewer pixels is returned whole.
    """
    whole = whole_span(pixels, factor)
    if whole.length <= crop:
        return whole
    source = min(max(1, round(crop / factor)), pixels)
    return Span(int(rng.integers(0, pixels - source + 1)), source, crop)


def _padded(
    pixels: np.ndarray, labels: np.ndarray, ignore: int, crop: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return image 3×H×W and mask H×W of the crop's size, padded on the right and below."""
    below, right = crop[0] - labels.shape[0], crop[1] - labels.shape[1]
    border = (0, below, 0, right, cv2.BORDER_CONSTANT)
    image = cv2.copyMakeBorder(pixels, *border, value=(PADDING, PADDING, PADDING))
    mask = cv2.copyMakeBorder(labels, *border, value=(ignore,))
    # split into place: a stack of the split channels would be a second copy
    channels = np.empty((3, *mask.shape), np.uint8)
    cv2.split(image, list(channels))
    return channels, mask
