from dataclasses import asdict

import cv2
import numpy as np
import pytest

from encoder_ablations.data.checks.content.quality import quality
from encoder_ablations.utils.seeding import numpy_stream


def texture(seed):
    """240×320 RGB with structure of several sizes."""
    stream = numpy_stream(seed, "quality")
    coarse = cv2.resize(stream.uniform(0, 255, (12, 16, 3)), (320, 240))
    return (coarse * 0.7 + stream.uniform(0, 60, (240, 320, 3))).astype(np.uint8)


def blobs():
    mask = np.zeros((240, 320), np.uint8)
    cv2.circle(mask, (100, 120), 61, 1, -1)
    cv2.ellipse(mask, (230, 100), (50, 33), 20, 0, 360, 2, -1)
    return mask


def blurred(pixels, mask):
    return cv2.GaussianBlur(pixels, (0, 0), 4), mask


def noisy(pixels, mask):
    noise = numpy_stream(0, "noise").normal(0, 50, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8), mask


def half_gray(pixels, mask):
    pixels = pixels.copy()
    pixels[120:] = 128
    return pixels, mask


def specked(pixels, mask):
    stream = numpy_stream(0, "specks")
    mask = mask.copy()
    mask[stream.integers(0, 240, 500), stream.integers(0, 320, 500)] = 2
    return pixels, mask


def blocky(pixels, mask):
    return pixels, np.kron(mask[::8, ::8], np.ones((8, 8), np.uint8))


def unfinished(pixels, mask):
    mask = mask.copy()
    mask[160:] = 255
    return pixels, mask


CASES = {
    "sharpness": (blurred, -2.5),
    "noise": (noisy, 0.4),
    "flat": (half_gray, 0.45),
    "specks": (specked, 5),
    "blocks": (blocky, 0.5),
    "gap": (unfinished, 0.3),
}


@pytest.mark.parametrize("name", CASES)
def test_each_damage_shows_in_its_number(name):
    damage, change = CASES[name]
    sound = asdict(quality(texture(0), blobs(), 255))
    damaged = asdict(quality(*damage(texture(0), blobs()), 255))
    assert (damaged[name] - sound[name]) / change >= 1


def test_thin_structures_are_no_specks():
    mask = np.zeros((100, 100), np.uint8)
    mask[:, 50] = 1
    mask[:, 20] = 2
    assert quality(texture(0)[:100, :100], mask, 255).specks == 0


def test_all_unlabelled_and_tiny():
    found = quality(np.zeros((2, 3, 3), np.uint8), np.full((2, 3), 255, np.uint8), 255)
    assert found.gap == 1
    assert np.isfinite(list(asdict(found).values())).all()
