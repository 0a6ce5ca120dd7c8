"""Numbers by which images are compared: moments of their levels, and a perceptual hash."""

from typing import Any

import numpy as np
from PIL import Image
from scipy.fft import dctn

THUMBNAIL = 16


def moments(image: Image.Image) -> np.ndarray:
    """Return mean and mean square of each channel of an RGB image, in 0..1, as 2×3 float64."""
    histogram = np.array(image.histogram(), np.float64).reshape(3, 256)
    levels = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    return np.stack([weights @ levels, weights @ levels**2])


def perceptual_hash(image: Image.Image) -> tuple[np.ndarray, int]:
    """Return a thumbnail, 16×16 uint8, and a hash of 64 bits that compressing hardly changes.

    The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions",
    2010): the signs of the lowest 8×8 frequencies about their median.
    """
    side = 2 * THUMBNAIL
    small = image.convert("L").resize((side, side), Image.Resampling.BOX, reducing_gap=2.0)
    pixels = np.asarray(small, np.float32)
    low: Any = dctn(pixels, norm="ortho")[:8, :8].ravel()
    thumbnail = pixels.reshape(THUMBNAIL, 2, THUMBNAIL, 2).mean(axis=(1, 3))
    # the first frequency is the brightness: it says nothing about the content
    signs = np.packbits(low > np.median(low[1:]))
    return thumbnail.round().astype(np.uint8), int.from_bytes(signs.tobytes(), "big")
