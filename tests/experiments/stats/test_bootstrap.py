"""Intervals over seeds and images hold the truth as often as they say: simulated studies with a known truth."""

import numpy as np
import pytest

from encoder_ablations.engine import metrics
from encoder_ablations.engine.confusion import ConfusionMatrix
from encoder_ablations.experiments.stats.bootstrap import (
    interval_over_seeds_and_images,
    miou_of_draws,
    resampling_weights,
)
from encoder_ablations.experiments.stats.seeds import summarize

CLASSES = 4


def draw_images(random, count, spread):
    """Pixels of each class, and how easy each image is."""
    return random.dirichlet([3, 1, 0.6, 0.3], count) * 4096, random.normal(0, spread, (count, 1))


def score(sizes, ease):
    """Margins N×3×K of a model that finds a share logistic(ease) of each class and spreads the rest evenly."""
    hits = sizes / (1 + np.exp(-ease))
    missed = sizes - hits
    guess = hits + (missed.sum(axis=1, keepdims=True) - missed) / (CLASSES - 1)
    return np.stack([hits, sizes, guess], axis=1)


def miou(margins):
    return float(miou_of_draws(np.ones((1, len(margins))), margins)[0])


def simulate(random, images, seeds, seed_noise, mixed_noise, image_noise, levels=(1.5,)):
    """Scores and draws of each encoder (levels) on one set of images: a list of (values, draws)."""
    sizes, ease = draw_images(random, images, image_noise)
    weights = resampling_weights([str(n) for n in range(images)], 300)
    found = []
    for level in levels:
        runs = [
            score(sizes, level + ease + random.normal(0, seed_noise) + random.normal(0, mixed_noise, (images, 1)))
            for _ in range(seeds)
        ]
        found.append(([miou(run) for run in runs], np.array([miou_of_draws(weights, run) for run in runs])))
    return found


def true_miou(random, seed_noise, mixed_noise, image_noise, level=1.5):
    sizes, ease = draw_images(random, 20_000, image_noise)
    noise = [random.normal(0, seed_noise) + random.normal(0, mixed_noise, (20_000, 1)) for _ in range(60)]
    return np.mean([miou(score(sizes, level + ease + one)) for one in noise])


SETTINGS = [  # images, seeds, noise of seeds, of seeds × images, of images
    (30, 3, 0.1, 0.3, 0.5),
    (100, 3, 0.3, 0.1, 0.1),
    (100, 5, 0.02, 0.3, 1.0),
    (60, 3, 0.0, 0.0, 1.0),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_coverage_over_seeds_and_images(setting):
    """Of 300 studies: 95 % ± 3 standard errors (3.8 points); more where both kinds of noise count (conservative)."""
    images, seeds, *noise = setting
    random = np.random.default_rng(1)
    truth = true_miou(random, *noise)
    intervals = [interval_over_seeds_and_images(*simulate(random, images, seeds, *noise)[0]) for _ in range(300)]
    held = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.91 <= held <= 0.99


def test_coverage_of_paired_differences_and_what_pairing_buys():
    random = np.random.default_rng(2)
    noise, levels = (0.05, 0.1, 1.0), (1.5, 1.3)
    truth = true_miou(random, *noise, level=1.5) - true_miou(random, *noise, level=1.3)
    held, widths, single = 0, [], []
    for _ in range(300):
        (a, draws_a), (b, draws_b) = simulate(random, 60, 3, *noise, levels)
        low, high = interval_over_seeds_and_images(np.subtract(a, b), draws_a - draws_b)
        held += low <= truth <= high
        widths.append(high - low)
        single.append(np.subtract(*interval_over_seeds_and_images(a, draws_a)[::-1]))
    assert 0.91 <= held / 300 <= 0.99
    assert np.median(widths) < np.median(single)  # the images are the same for both: most of their noise cancels


def test_scenes_count_once():
    """Ten frames of each of 20 scenes: taken for 200 images, the interval would miss the truth far too often."""
    random, noise = np.random.default_rng(3), (0.0, 0.0, 1.0)
    truth = true_miou(random, *noise)
    held = {"scenes": 0, "images": 0}
    for _ in range(200):
        sizes, ease = draw_images(random, 20, 1.0)
        margins = np.repeat(score(sizes, 1.5 + ease), 10, axis=0)
        names = {"scenes": [str(n // 10) for n in range(200)], "images": [str(n) for n in range(200)]}
        for kind, scenes in names.items():
            draws = np.tile(miou_of_draws(resampling_weights(scenes, 300), margins), (3, 1))
            low, high = interval_over_seeds_and_images([miou(margins)] * 3, draws)
            held[kind] += low <= truth <= high
    assert held["scenes"] / 200 > 0.87  # 20 scenes are few for a percentile bootstrap
    assert held["images"] / 200 < 0.6


def test_limits():
    """Without noise of images the t interval over seeds; without noise of seeds the percentiles of the draws."""
    values = [0.70, 0.72, 0.71]
    low, high = interval_over_seeds_and_images(values, np.tile(np.array(values)[:, None], 1000))
    assert (low, high) == (
        pytest.approx(summarize(values).low, abs=4e-4),
        pytest.approx(summarize(values).high, abs=4e-4),
    )
    draws = np.random.default_rng(0).normal(0.5, 0.01, 1000)
    low, high = interval_over_seeds_and_images([0.5] * 3, np.tile(draws, (3, 1)))
    expected = np.quantile(draws, [0.025, 0.975]) - draws.mean() + 0.5
    assert (low, high) == (pytest.approx(expected[0]), pytest.approx(expected[1]))


def test_no_interval_from_two_seeds_or_nine_images():
    assert interval_over_seeds_and_images([0.5, 0.6], np.zeros((2, 10))) is None
    assert resampling_weights([str(n) for n in range(9)]) is None
    assert resampling_weights(["one scene"] * 100) is None


def test_draws_are_the_metric_of_the_resampled_sum():
    random = np.random.default_rng(0)
    matrices = random.integers(0, 5, (12, 3, 3))
    matrices[:, 2] = 0  # a class that is never true, but predicted
    hits, truth, guess = np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(axis=2), matrices.sum(axis=1)
    weights = resampling_weights([str(n) for n in range(12)], 5)
    assert weights.shape == (5, 12)
    assert np.array_equal(weights.sum(axis=1), [12] * 5)
    expected = [metrics.mean_iou(ConfusionMatrix((w[:, None, None] * matrices).sum(axis=0))) for w in weights]
    assert miou_of_draws(weights, np.stack([hits, truth, guess], axis=1)) == pytest.approx(expected)


def test_equal_scenes_give_equal_draws():
    one, two = (resampling_weights([f"{kind}{n}" for n in range(15)]) for kind in "ab")
    assert np.array_equal(one, two)
    paired = resampling_weights([f"s{n // 2}" for n in range(30)])
    assert np.array_equal(paired[:, 0], paired[:, 1])
