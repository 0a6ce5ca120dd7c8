import math
from itertools import combinations

import numpy as np
import pytest

from encoder_ablations.experiments.stats.power import (
    difference_shown,
    power,
    seeds_needed,
    spread_of,
)
from encoder_ablations.experiments.stats.seeds import holm, paired_difference

STUDIES = 1500
THREE_ERRORS = 3 * math.sqrt(0.25 / STUDIES)


def simulated_studies(means, seeds, std):
    """Scores of encoders (seed -> score); differences between two have the standard deviation."""
    rng = np.random.default_rng(7)
    for _ in range(STUDIES):
        block = np.array(means)[:, None] + rng.normal(0, std / math.sqrt(2), (len(means), seeds))
        # what a seed does to all encoders alike changes no difference
        block += rng.normal(0, 5, seeds)
        yield [dict(enumerate(row)) for row in block]


def p_values(scores):
    return [paired_difference(*pair).p for pair in combinations(scores, 2)]


@pytest.mark.parametrize(("difference", "seeds"), [(1.0, 3), (1.0, 8), (0.5, 12)])
def test_the_reports_own_test_shows_a_difference_so_often(difference, seeds):
    found = [
        p_values(scores)[0] < 0.05 for scores in simulated_studies([difference, 0], seeds, 0.8)
    ]
    assert np.mean(found) == pytest.approx(power(difference, 0.8, seeds), abs=THREE_ERRORS)


def test_holm_shows_it_at_least_so_often_and_not_much_more_often():
    # the first encoder leads by one point; the pair of it and the second is counted
    found = [
        holm(p_values(scores))[0] < 0.05 for scores in simulated_studies([1, 0, 0, 0], 10, 0.8)
    ]
    promised = power(1, 0.8, 10, comparisons=6)
    assert promised - THREE_ERRORS < np.mean(found) < promised + 0.15


def test_the_fewest_seeds_are_enough_and_one_less_is_not():
    for difference, comparisons in [(0.5, 1), (1.0, 6), (3.0, 45)]:
        seeds = seeds_needed(difference, 0.8, comparisons)
        assert power(difference, 0.8, seeds, comparisons) >= 0.8
        assert power(difference, 0.8, seeds - 1, comparisons) < 0.8
    assert seeds_needed(1e-3, 0.8) is None
    assert seeds_needed(100, 0.8) == 3, "fewer than three seeds are no test"


def test_the_difference_that_some_seeds_show_needs_just_so_many():
    shown = difference_shown(0.8, 7, comparisons=3)
    assert power(shown, 0.8, 7, comparisons=3) == pytest.approx(0.8, abs=1e-6)
    assert math.isnan(difference_shown(0.8, 2))


def test_spread_of_two_encoders_is_that_of_their_differences():
    first, second = {0: 1.0, 1: 2.0, 2: 4.0, 9: 0.0}, {0: 0.5, 1: 2.5, 2: 3.0, 8: 1.0}
    spread = spread_of({"a": first, "b": second})
    assert spread.std == pytest.approx(np.std([0.5, -0.5, 1.0], ddof=1))
    assert spread.low < spread.std < spread.high


def test_spread_needs_two_encoders_and_two_shared_seeds():
    assert spread_of({"a": {0: 1.0, 1: 2.0}}) is None
    assert spread_of({"a": {0: 1.0, 1: 2.0}, "b": {1: 1.0}}) is None
