"""Labelled images that reach a score without labels: known crossings, and how often it is right."""

import math

import numpy as np
import pytest

from encoder_ablations.experiments.stats.bootstrap import Resampled
from encoder_ablations.experiments.stats.labels_needed import labels_needed

NUMBERS = (10, 100, 1000)
IMAGES = 60


def exact(value):
    """A score that is the same on all images."""
    return value, Resampled(np.full(1000, value), np.full(IMAGES, value))


def curve(means, seeds=3):
    return {
        number: {seed: exact(mean) for seed in range(seeds)}
        for number, mean in zip(NUMBERS, means, strict=True)
    }


def test_the_crossing_is_interpolated_in_the_logarithm():
    found, with_images = labels_needed(curve([0.2, 0.4, 0.6]), exact(0.3))
    assert with_images
    assert found.fraction == pytest.approx(10**1.5)
    assert (found.low, found.high) == pytest.approx((10**1.5, 10**1.5), rel=0.05)
    assert [found.at_most, found.low_open, found.high_open] == [False] * 3


@pytest.mark.parametrize(
    ("target", "fraction", "ends"), [(0.1, 10, (True, False)), (0.7, math.nan, (False, True))]
)
def test_curves_that_never_cross(target, fraction, ends):
    found, _ = labels_needed(curve([0.2, 0.4, 0.6]), exact(target))
    assert found.fraction == pytest.approx(fraction, nan_ok=True)
    assert found.at_most == ends[0]
    assert (found.low_open, found.high_open) == ends


def test_a_falling_curve_above_the_target_needs_fewer_than_the_fewest_images():
    found, _ = labels_needed(curve([0.6, 0.5, 0.4]), exact(0.1))
    assert (found.low, found.high) == pytest.approx((10, 10))
    assert (found.at_most, found.low_open, found.high_open) == (True, True, False)


def test_two_seeds_give_a_number_without_an_interval():
    found, with_images = labels_needed(curve([0.2, 0.4, 0.6], seeds=2), exact(0.3))
    assert (found.fraction, found.n, with_images) == (pytest.approx(10**1.5), 2, False)
    assert math.isnan(found.low)


def test_no_shared_seed_no_answer():
    curves = {10: {0: exact(0.2)}, 100: {1: exact(0.4)}}
    assert labels_needed(curves, exact(0.3)) is None


def test_without_counts_of_images_the_interval_is_over_seeds():
    noisy = {
        number: {seed: (mean + 0.01 * seed, None) for seed in range(3)}
        for number, mean in zip(NUMBERS, [0.2, 0.4, 0.6], strict=True)
    }
    found, with_images = labels_needed(noisy, (0.31, None))
    assert not with_images
    assert found.low < 10**1.5 < found.high


def draw_study(random):
    """One study of which curve and target are known: 0.2 to 0.6, and 0.3; images and seeds vary."""
    drawn = random.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES), size=1000)

    def score(mean, by_image):
        values = mean + by_image
        left_out = (values.sum() - values) / (IMAGES - 1)
        return values.mean(), Resampled(drawn @ values / IMAGES, left_out)

    shared = 0.1 * random.normal(size=IMAGES)
    seeds = 0.02 * random.normal(size=3)
    curves = {}
    for number, mean in zip(NUMBERS, [0.2, 0.4, 0.6], strict=True):
        own = 0.2 * random.normal(size=IMAGES)
        noise = 0.02 * random.normal(size=3) + seeds
        curves[number] = {seed: score(mean + noise[seed], shared + own) for seed in range(3)}
    return curves, score(0.3, shared + 0.2 * random.normal(size=IMAGES))


@pytest.mark.slow
def test_the_interval_holds_the_true_number_in_95_of_100_studies():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        found, _ = labels_needed(*draw_study(random))
        low = 0 if found.low_open else found.low
        high = math.inf if found.high_open else found.high
        held += low <= 10**1.5 <= high
    assert 0.92 <= held / 200 <= 0.995
