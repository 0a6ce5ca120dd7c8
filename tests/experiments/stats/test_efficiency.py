import math

import numpy as np
import pytest

from encoder_ablations.experiments.stats.efficiency import label_efficiency, steps_to_reach

FRACTIONS = (0.01, 0.1, 1.0)


def curve(means, seeds=3, random=None, noise=0.0):
    random = random or np.random.default_rng(0)
    return {
        f: {s: m + noise * random.normal() for s in range(seeds)}
        for f, m in zip(FRACTIONS, means, strict=True)
    }


def test_interpolated_on_a_logarithmic_scale():
    found = label_efficiency(curve([0.2, 0.4, 0.6]), {0: 0.5, 1: 0.5, 2: 0.5})
    assert found.fraction == pytest.approx(10**-0.5)
    assert (found.low, found.high) == (
        pytest.approx(10**-0.5, rel=0.02),
        pytest.approx(10**-0.5, rel=0.02),
    )
    assert (found.at_most, found.low_open, found.high_open, found.n) == (False, False, False, 3)


def test_better_with_the_fewest_images_already():
    found = label_efficiency(curve([0.5, 0.6, 0.7]), {0: 0.4, 1: 0.4, 2: 0.4})
    assert (found.fraction, found.at_most, found.low_open, found.high_open) == (
        pytest.approx(0.01),
        True,
        True,
        False,
    )


def test_never_reached():
    found = label_efficiency(curve([0.2, 0.3, 0.35]), {0: 0.4, 1: 0.4, 2: 0.4})
    assert math.isnan(found.fraction)
    assert (found.high_open, found.low_open) == (True, False)


def test_noise_opens_the_interval():
    random = np.random.default_rng(0)
    found = label_efficiency(
        curve([0.4, 0.45, 0.5], 3, random, 0.1), {s: 0.48 + 0.1 * random.normal() for s in range(3)}
    )
    assert found.low_open
    assert found.high_open


def test_few_or_other_seeds():
    found = label_efficiency(curve([0.2, 0.4, 0.6], 2), {0: 0.5, 1: 0.5, 2: 0.5})
    assert (found.fraction, found.n) == (pytest.approx(10**-0.5), 2)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert label_efficiency(curve([0.2, 0.4, 0.6]), {7: 0.5}) is None


@pytest.mark.parametrize(("noise", "seeds"), [(0.01, 3), (0.03, 3), (0.03, 8)])
def test_coverage(noise, seeds):
    """Of 400 studies: 95 % ± 3 standard errors, an open end holding whatever lies beyond it."""
    random, held, truth = np.random.default_rng(1), 0, 10**-0.5
    for _ in range(400):
        target = {s: 0.5 + noise * random.normal() for s in range(seeds)}
        found = label_efficiency(curve([0.2, 0.4, 0.6], seeds, random, noise), target)
        held += (found.low_open or found.low <= truth) and (found.high_open or truth <= found.high)
    assert 0.917 <= held / 400 <= 0.983


FALLING = [0.60, 0.55, 0.50]
SHAPES = {
    "falls, far above": (FALLING, 0.1, 0),
    "flat, above": ([0.55, 0.55, 0.55], 0.5, 0),
    "flat, on the target": ([0.5, 0.5, 0.5], 0.5, 0),
    "falls, far below": (FALLING, 0.9, math.inf),
    "falls, just below": ([0.49, 0.3, 0.1], 0.5, math.inf),
    "falls through the target": ([0.6, 0.52, 0.3], 0.5, 0),
    "rises and falls": ([0.4, 0.6, 0.4], 0.5, 10**-1.5),
}
"""Means, the target, and where the true curve gets there first: 0 = below the smallest fraction."""


@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_of_curves_that_do_not_just_rise(shape):
    """Of 300 studies: 95 % or more (- 3 standard errors), and never against the estimate."""
    means, target, truth = SHAPES[shape]
    random, held = np.random.default_rng(2), 0
    for _ in range(300):
        found = label_efficiency(curve(means, 3, random, 0.02), dict.fromkeys(range(3), target))
        low = 0 if found.low_open else found.low
        high = math.inf if found.high_open else found.high
        held += low <= truth <= high
        estimate = 0 if found.at_most else np.nan_to_num(found.fraction, nan=math.inf)
        assert low <= estimate <= high
    assert held / 300 >= 0.91


@pytest.mark.parametrize("means", [FALLING, [0.55, 0.55, 0.55]])
def test_curves_far_above_need_fewer_than_the_fewest_images(means):
    random = np.random.default_rng(0)
    found = label_efficiency(curve(means, 3, random, 0.01), {0: 0.1, 1: 0.1, 2: 0.1})
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))
    assert (found.at_most, found.low_open, found.high_open) == (True, True, False)


def test_steps_to_a_target():
    assert steps_to_reach([10, 20, 30], [0.2, 0.4, 0.5], 0.3) == pytest.approx(15)
    assert steps_to_reach([10, 20, 30], [0.2, None, 0.6], 0.3) == pytest.approx(15)
    assert steps_to_reach([10, 20], [0.2, 0.3], 0.3) == 20
    assert steps_to_reach([10, 20], [0.5, 0.4], 0.3) == 10
    assert math.isnan(steps_to_reach([10, 20], [0.1, 0.2], 0.3))
    assert math.isnan(steps_to_reach([], [], 0.3))
