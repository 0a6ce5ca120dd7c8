"""Conformal risk control keeps its promise, and variants that are broken do not."""

import numpy as np
import pytest
import torch

from encoder_ablations.engine.evaluation.conformal import (
    Calibrator,
    ImageMisses,
    images_needed,
    thresholds,
)

LEVEL = 0.2
IMAGES = 10
DRAWS = 150


def image(rng, difficulty=1.0):
    """Three pixels of class 0, equally probable; that differs from image to image.

    Without ``difficulty`` a threshold t misses the class in the share t of all images.
    """
    of_class = np.full(3, rng.uniform() ** difficulty)
    probabilities = torch.tensor(np.stack([of_class, 1 - of_class], axis=1))
    return ImageMisses.of(probabilities, torch.zeros(3, dtype=torch.long))


class Uncorrected(Calibrator):
    """Forgets that the calibration images are only a sample."""

    def chosen(self, level):
        allowed = (self.sums / np.maximum(1, self.images)[:, None] <= level).sum(axis=1)
        return thresholds()[allowed - 1]


def mean_miss_rate(kind=Calibrator, difficulty=1.0):
    """Return the mean over draws of the miss rate on new images, and its standard error."""
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(DRAWS):
        calibrator = kind(2)
        for _ in range(IMAGES):
            calibrator.add(image(rng, difficulty))
        # the threshold is the miss rate, see image()
        rates.append(calibrator.chosen(LEVEL)[0])
    return np.mean(rates), np.std(rates) / np.sqrt(DRAWS)


def test_the_miss_rate_is_held():
    rate, error = mean_miss_rate()
    assert rate <= LEVEL + 2 * error
    # it is not held by sets of all classes
    assert rate > LEVEL / 2


def test_without_the_correction_it_is_not_held():
    rate, error = mean_miss_rate(Uncorrected)
    assert rate > LEVEL + 2 * error


def test_calibration_on_other_images_does_not_hold_it():
    """Images on which the model is surer promise too much."""
    rate, error = mean_miss_rate(difficulty=0.3)
    assert rate > LEVEL + 2 * error


def test_thresholds_are_the_largest_that_the_bound_allows():
    """Nine images with one pixel each at probabilities 0.1, 0.2, ..: at most no pixel is missed."""
    calibrator = Calibrator(2)
    for value in np.arange(1, 10) / 10:
        probabilities = torch.tensor([[value, 1 - value]])
        calibrator.add(ImageMisses.of(probabilities, torch.tensor([0])))
    first, second = calibrator.chosen(0.1)
    assert first == thresholds()[thresholds() <= 0.1].max()
    assert np.isnan(second)
    assert calibrator.chosen(0.2)[0] == thresholds()[thresholds() <= 0.2].max()


def test_too_few_images_are_told():
    assert images_needed(0.1) == 9
    assert images_needed(0.05) == 19
    assert images_needed(0.5) == 1
    calibrator = Calibrator(2)
    for _ in range(8):
        calibrator.add(image(np.random.default_rng(1)))
    assert np.isnan(calibrator.chosen(0.1)[0])


def test_parts_of_an_image_are_one_image():
    rng = np.random.default_rng(2)
    probabilities = torch.tensor(rng.dirichlet([1, 1, 1], 50))
    truth = torch.tensor(rng.integers(0, 2, 50))
    parts = ImageMisses.of(probabilities[:20], truth[:20])
    parts += ImageMisses.of(probabilities[20:], truth[20:])
    rates, present = parts.rates()
    assert present.tolist() == [True, True, False]
    threshold = thresholds()[700]
    missed = probabilities[truth == 1, 1] < threshold
    assert rates[1, 700] == pytest.approx(missed.double().mean().item())
