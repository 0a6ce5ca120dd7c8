"""The expected best of k trials against enumeration, and its interval."""

from itertools import product

import numpy as np
import pytest

from encoder_ablations.experiments.stats.expected_best import (
    expected_best,
    expected_best_with_interval,
)


def test_it_is_the_mean_best_of_all_draws_with_replacement():
    scores = np.array([0.3, 0.1, 0.7, 0.3])
    for k, value in enumerate(expected_best(scores), start=1):
        bests = [max(drawn) for drawn in product(scores, repeat=k)]
        assert value == pytest.approx(np.mean(bests), abs=1e-12)


def test_one_trial_is_expected_to_score_the_mean_and_more_trials_more():
    scores = np.random.default_rng(0).random(20)
    expected = expected_best(scores)
    assert expected[0] == pytest.approx(scores.mean())
    assert np.all(np.diff(expected) > 0)
    assert expected[-1] < scores.max()


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Of uniform scores the best of k is expected to be k / (k + 1)."""
    rng = np.random.default_rng(0)
    held = []
    for seed in range(200):
        found = expected_best_with_interval(rng.random(30), seed)
        held.append((found.low[2] <= 3 / 4) & (found.high[2] >= 3 / 4))
    assert 0.88 <= np.mean(held) <= 0.99
