"""Random brightness, contrast, saturation and hue.

As in SSD (Liu et al., ECCV 2016), in the order and with the ranges of Detectron2's ``ColorAugSSDTransform``, which
Mask2Former trains with. Each is applied with probability 1/2, contrast either before or after the other two.
"""

import numpy as np
from PIL import Image

BRIGHTNESS = 32
"""Largest shift of R, G and B, of 255."""
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 18
"""Largest turn in OpenCV's steps of 2 degrees, as there."""

_LEVELS = np.arange(256)


def distort(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """An RGB picture with random colours; draws the same number of values from ``rng`` whatever is applied."""
    applied = rng.random(4) < 0.5
    contrast_first = rng.random() < 0.5
    shift = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    contrast = rng.uniform(*CONTRAST)
    saturation = rng.uniform(*SATURATION)
    hue = int(rng.integers(-HUE, HUE + 1))

    before = _LEVELS
    if applied[0]:
        before = _clip(before + shift)
    if applied[1] and contrast_first:
        before = _clip(before * contrast)
    image = _apply(image, before, before, before)
    if applied[2] or applied[3]:
        turned = (_LEVELS + round(hue * 256 / 180)) % 256 if applied[3] else _LEVELS
        saturated = _clip(_LEVELS * saturation) if applied[2] else _LEVELS
        image = _apply(image.convert("HSV"), turned, saturated, _LEVELS).convert("RGB")
    if applied[1] and not contrast_first:
        after = _clip(_LEVELS * contrast)
        image = _apply(image, after, after, after)
    return image


def _apply(image: Image.Image, *tables: np.ndarray) -> Image.Image:
    """Looks every channel's values up in its table of 256 entries."""
    if all(table is _LEVELS for table in tables):
        return image
    return image.point(np.concatenate(tables).tolist())


def _clip(values: np.ndarray) -> np.ndarray:
    """Cuts to 0..255 and drops the fraction, as a cast to uint8 does."""
    return np.clip(values, 0, 255).astype(np.int64)
