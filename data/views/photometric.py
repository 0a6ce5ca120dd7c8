"""Random brightness, contrast, saturation and hue.

As in SSD (Liu et al., ECCV 2016), computed as in Detectron2's ``ColorAugSSDTransform``, bit for
bit: by tables and OpenCV's 8-bit HSV. Mask2Former trains with it. Each is applied with probability
1/2, contrast before or after the other two.
"""

from functools import partial

import cv2
import numpy as np

from encoder_ablations.data.views.augmentation import ColorSpec

_LEVELS = np.arange(256, dtype=np.float32)
_HUES = 180
"""OpenCV's hues are 0..179, in steps of 2 degrees."""
_USUAL = ColorSpec()


def distort(pixels: np.ndarray, rng: np.random.Generator, ranges: ColorSpec = _USUAL) -> np.ndarray:
    """Return H×W×3 uint8 RGB with random colours.

    As many values are drawn from ``rng`` whatever is applied.
    """
    turn = ranges.hue // 2
    applied = rng.random(4) < 0.5
    contrast_first = rng.random() < 0.5
    shift = rng.uniform(-ranges.brightness, ranges.brightness)
    contrast = rng.uniform(*ranges.contrast)
    saturation = rng.uniform(*ranges.saturation)
    hue = int(rng.integers(-turn, turn + 1))

    stretch = partial(cv2.LUT, lut=_clip(_LEVELS * contrast))
    hues = ((_LEVELS + hue) % _HUES).astype(np.uint8)
    steps = [
        (applied[0], partial(cv2.LUT, lut=_clip(_LEVELS + shift))),
        (applied[1] and contrast_first, stretch),
        (applied[2], partial(_change_hsv, channel=1, lut=_clip(_LEVELS * saturation))),
        (applied[3], partial(_change_hsv, channel=0, lut=hues)),
        (applied[1] and not contrast_first, stretch),
    ]
    for wanted, change in steps:
        if wanted:
            pixels = change(pixels)
    return pixels


def _clip(values: np.ndarray) -> np.ndarray:
    """Return values cut to 0..255 without their fraction."""
    levels: np.ndarray = np.clip(values, 0, 255)
    return levels.astype(np.uint8)


def _change_hsv(pixels: np.ndarray, channel: int, lut: np.ndarray) -> np.ndarray:
    """Replace hues (channel 0) or saturations (1) by their entries in a table of 256."""
    hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), lut), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
