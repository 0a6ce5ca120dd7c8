"""Random gamma, loss of colours, blur, noise and compression of crops.

They come in the order in which a camera makes them. Each draws from a stream of its own, named
after it: so turning one on changes neither another nor the rest of the crop.
"""

import math

import cv2
import numpy as np

from encoder_ablations.data.views.augmentation import (
    AugmentationSpec,
    BlurSpec,
    GammaSpec,
    JpegSpec,
    NoiseSpec,
)
from encoder_ablations.utils.seeding import substream

_LEVELS = np.arange(256)


def degrade(pixels: np.ndarray, spec: AugmentationSpec, rng: np.random.Generator) -> np.ndarray:
    """Return H×W×3 uint8 RGB after those of the changes that ``spec`` asks for.

    Nothing is drawn from ``rng`` itself.
    """
    if spec.gamma is not None:
        pixels = _random_gamma(pixels, spec.gamma, substream(rng, "gamma"))
    if spec.greyscale and substream(rng, "greyscale").random() < spec.greyscale:
        pixels = greyscale(pixels)
    if spec.blur is not None:
        pixels = _random_blur(pixels, spec.blur, substream(rng, "blur"))
    if spec.noise is not None:
        pixels = _random_noise(pixels, spec.noise, substream(rng, "noise"))
    if spec.jpeg is not None:
        pixels = _random_jpeg(pixels, spec.jpeg, substream(rng, "jpeg"))
    return pixels


def _random_gamma(pixels: np.ndarray, spec: GammaSpec, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= spec.probability:
        return pixels
    low, high = spec.exponent
    return change_gamma(pixels, math.exp(rng.uniform(math.log(low), math.log(high))))


def _random_blur(pixels: np.ndarray, spec: BlurSpec, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= spec.probability:
        return pixels
    return blur(pixels, rng.uniform(*spec.sigma))


def _random_noise(pixels: np.ndarray, spec: NoiseSpec, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= spec.probability:
        return pixels
    return add_noise(pixels, rng.uniform(*spec.sigma), rng)


def _random_jpeg(pixels: np.ndarray, spec: JpegSpec, rng: np.random.Generator) -> np.ndarray:
    if rng.random() >= spec.probability:
        return pixels
    low, high = spec.quality
    return compress(pixels, int(rng.integers(low, high + 1)))


def change_gamma(pixels: np.ndarray, exponent: float) -> np.ndarray:
    """Return uint8 pixels whose levels, as shares of 255, are raised to a power."""
    table = np.rint(255 * (_LEVELS / 255) ** exponent).astype(np.uint8)
    return cv2.LUT(pixels, table)


def greyscale(pixels: np.ndarray) -> np.ndarray:
    """Return H×W×3 uint8 RGB without colours: 0.299 R + 0.587 G + 0.114 B in each channel."""
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def blur(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Return H×W×3 uint8 smoothed by a Gaussian of ``sigma`` pixels, cut off at 3 sigma.

    The image is mirrored at its border.
    """
    width = 2 * math.ceil(3 * sigma) + 1
    return cv2.GaussianBlur(pixels, (width, width), sigma)


def add_noise(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return H×W×3 uint8 with Gaussian noise of ``sigma`` levels of 255 on each value."""
    noise = rng.standard_normal(pixels.shape, np.float32)
    noisy: np.ndarray = np.clip(np.rint(pixels + np.float32(sigma) * noise), 0, 255)
    return noisy.astype(np.uint8)


def compress(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Return H×W×3 uint8 RGB as JPEG of ``quality`` 1..100 stores it."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, content = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)
    stored = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))
    return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)
