"""Random brightness, contrast, saturation and hue.

As in SSD (Liu et al., ECCV 2016), in the order and with the ranges of Detectron2's ``ColorAugSSDTransform``, which
Mask2Former trains with. Each is applied with probability 1/2, contrast either before or after the other two. Hue and
saturation are turned in 8-bit HSV as Pillow converts it, bit for bit.
"""

import functools

import numpy as np

BRIGHTNESS = 32
"""Largest shift of R, G and B, of 255."""
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 18
"""Largest turn in OpenCV's steps of 2 degrees, as there."""

_LEVELS = np.arange(256)


def distort(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """H×W×3 uint8 RGB with random colours; draws the same number of values from ``rng`` whatever is applied."""
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
    pixels = pixels if before is _LEVELS else _look_up(pixels, before)
    if applied[2] or applied[3]:
        turned = (_LEVELS + round(hue * 256 / 180)) % 256 if applied[3] else _LEVELS
        saturated = _clip(_LEVELS * saturation) if applied[2] else _LEVELS
        pixels = _turn(pixels, turned, saturated)
    if applied[1] and not contrast_first:
        pixels = _look_up(pixels, _clip(_LEVELS * contrast))
    return pixels


def _clip(values: np.ndarray) -> np.ndarray:
    """Cuts to 0..255 and drops the fraction, as a cast to uint8 does."""
    return np.clip(values, 0, 255).astype(np.int64)


def _look_up(pixels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Every value's entry in a table of 256."""
    from encoder_ablations.data import pixel_kernels as kernels  # brings numba: only when needed

    result = np.array(pixels)
    kernels.look_up(result.reshape(-1), table.astype(np.uint8))
    return result


def _turn(pixels: np.ndarray, turned: np.ndarray, saturated: np.ndarray) -> np.ndarray:
    """Looks hues and saturations up in tables of 256."""
    from encoder_ablations.data import pixel_kernels as kernels  # brings numba: only when needed

    result = np.array(pixels)
    kernels.turn_colors(result.reshape(-1, 3), _hues(), turned.astype(np.uint8), saturated.astype(np.uint8))
    return result


@functools.cache
def _hues() -> np.ndarray:
    from encoder_ablations.data import pixel_kernels as kernels  # brings numba: only when needed

    table = np.zeros((6, 256, 256), np.uint8)
    kernels.hue_table(table)
    return table
