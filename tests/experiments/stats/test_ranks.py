import numpy as np
import pytest
import scipy

from encoder_ablations.experiments.stats.ranks import agreement, agreement_of_seeds


def scores(means, random=None, noise=0.0, seeds=3):
    random = random or np.random.default_rng(0)
    return {
        f"e{n}": {s: m + noise * random.normal() for s in range(seeds)} for n, m in enumerate(means)
    }


def test_tau_by_hand():
    found = agreement(scores([4, 3, 2, 1]), scores([4, 2, 3, 1]))
    assert found.tau == pytest.approx(4 / 6)  # five pairs agree, one does not
    assert (found.low, found.high) == (
        pytest.approx(4 / 6),
        pytest.approx(4 / 6),
    )  # without noise all is certain
    assert agreement(scores([1, 2, 3]), scores([3, 2, 1])).tau == -1


@pytest.mark.parametrize("levels", [1, 2, 4, 50])
def test_tau_is_that_of_scipy_with_ties(levels):
    random = np.random.default_rng(levels)
    for _ in range(20):
        first, second = random.integers(0, levels, (2, 9)) / 10
        expected = np.nan_to_num(scipy.stats.kendalltau(first, second).statistic)
        assert agreement(scores(first), scores(second)).tau == expected


def test_only_encoders_that_both_have():
    found = agreement(scores([4, 3, 2]), scores([4, 3]))
    assert (found.tau, found.encoders) == (1, 2)
    assert agreement(scores([4, 3]), scores([4])) is None


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_interval_below_three_seeds(seeds):
    found = agreement(scores([3, 2], seeds=seeds), scores([3, 2]))
    assert (found.tau, found.seeds) == (1, seeds)
    assert np.isnan([found.low, found.high]).all()
    between = agreement_of_seeds(scores([3, 2], seeds=seeds))
    assert between is None if seeds == 1 else np.isnan(between.low)


def test_overlapping_encoders_leave_the_ranking_open():
    random = np.random.default_rng(0)
    found = agreement(scores([0, 0, 0], random, 1.0), scores([0, 0, 0], random, 1.0))
    assert (found.low, found.high) == (-1, 1)


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.5])
def test_coverage_between_conditions(noise):
    """The true rankings differ in one pair of six: tau 2/3. Conservative: at least 95 % minus
    three standard errors.
    """
    random = np.random.default_rng(1)
    found = [
        agreement(scores([4, 3, 2, 1], random, noise), scores([4, 2, 3, 1], random, noise))
        for _ in range(300)
    ]
    assert np.mean([one.low - 1e-9 <= 4 / 6 <= one.high + 1e-9 for one in found]) >= 0.912
    if noise == 0.05:
        assert (
            np.median([one.high - one.low for one in found]) < 0.1
        )  # and says something where noise is small


@pytest.mark.parametrize(("noise", "seeds"), [(0.3, 3), (1.0, 3), (1.0, 8)])
def test_coverage_between_seeds(noise, seeds):
    random = np.random.default_rng(2)
    means = [3, 2, 1.5, 0]
    pairs = [agreement_of_seeds(scores(means, random, noise, 2)).tau for _ in range(2000)]
    truth = np.mean(pairs)
    found = [agreement_of_seeds(scores(means, random, noise, seeds)) for _ in range(300)]
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.912
    assert np.mean([one.tau for one in found]) == pytest.approx(truth, abs=0.05)


def test_the_interval_holds_what_was_seen():
    """Seeds that contradict each other have a mean tau below 0, which no true ranking can have."""
    scores = {
        "a": {0: 0.1, 1: 0.3, 2: 0.2},
        "b": {0: 0.2, 1: 0.1, 2: 0.3},
        "c": {0: 0.3, 1: 0.2, 2: 0.1},
    }
    found = agreement_of_seeds(scores)
    assert found.tau < 0
    assert found.low <= found.tau <= found.high
