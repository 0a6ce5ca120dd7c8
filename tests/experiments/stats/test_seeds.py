import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_ablations.experiments.stats.seeds import (
    Summary,
    deviation_interval,
    holm,
    paired_difference,
    summarize,
)

T_975_DF2 = 4.302652729749464  # from a printed table of Student's t
scores = st.floats(0, 1, allow_nan=False)


def test_interval_of_three_seeds_by_hand():
    summary = summarize([0.70, 0.72, 0.71])
    half_width = T_975_DF2 * 0.01 / math.sqrt(3)
    assert summary.mean == pytest.approx(0.71)
    assert summary.std == pytest.approx(0.01)
    assert summary.half_width == pytest.approx(half_width)
    assert (summary.low, summary.high) == (
        pytest.approx(0.71 - half_width),
        pytest.approx(0.71 + half_width),
    )
    assert summary.text() == "71.0 ± 2.5"
    assert summary.spread == "95 % interval"


def test_two_seeds_give_a_range_that_is_called_a_range():
    summary = summarize([0.70, 0.73])
    assert math.isnan(summary.half_width)
    assert (summary.low, summary.high, summary.spread) == (0.70, 0.73, "range")
    assert summary.text() == "71.5 (range 70.0–73.0)"
    assert summarize([0.71201, 0.71203]).text() == "71.2 (range 71.2–71.2)", (
        "one seed looks otherwise"
    )
    assert summary.std == pytest.approx(0.03 / math.sqrt(2))


def test_one_seed_is_a_value_and_none_is_a_dash():
    assert summarize([0.712]).text() == "71.2"
    assert summarize([0.712]).spread == ""
    assert math.isnan(summarize([0.712]).std)
    assert summarize([]) == Summary()
    assert summarize([]).text() == "–"


def test_other_units():
    assert summarize([200, 240, 280]).text(scale=1, digits=0) == "240 ± 99"


@given(st.lists(scores, max_size=8))
def test_intervals_exist_only_from_three_seeds_on(values):
    summary = summarize(values)
    assert summary.n == len(values)
    assert math.isnan(summary.half_width) == (len(values) < 3)
    assert ("±" in summary.text()) == (len(values) >= 3)
    if values:
        assert summary.low - 1e-12 <= summary.mean <= summary.high + 1e-12


def test_paired_difference_by_hand():
    difference = paired_difference(
        {0: 0.70, 1: 0.72, 2: 0.74, 9: 0.1}, {0: 0.65, 1: 0.66, 2: 0.70, 7: 0.9}
    )
    t = 0.05 / (0.01 / math.sqrt(3))
    assert difference.over.n == 3
    assert difference.over.mean == pytest.approx(0.05)
    assert difference.over.half_width == pytest.approx(T_975_DF2 * 0.01 / math.sqrt(3))
    assert difference.p == pytest.approx(
        1 - t / math.sqrt(t**2 + 2)
    )  # closed form for two degrees of freedom
    assert (difference.wins, difference.losses) == (3, 0)


@given(
    st.dictionaries(st.integers(0, 3), scores, max_size=4),
    st.dictionaries(st.integers(0, 3), scores, max_size=4),
)
def test_no_test_below_three_shared_seeds(first, second):
    difference = paired_difference(first, second)
    shared = first.keys() & second.keys()
    assert difference.over.n == len(shared)
    if len(shared) < 3:
        assert math.isnan(difference.p)
        assert math.isnan(difference.over.half_width)


def test_equal_differences_are_not_tested():
    equal = paired_difference({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.4, 1: 0.5, 2: 0.6})
    assert math.isnan(equal.p)


def test_holm_by_hand():
    assert holm([0.01, math.nan, 0.04, 0.03]) == [
        pytest.approx(0.03),
        pytest.approx(math.nan, nan_ok=True),
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_never_makes_a_p_value_smaller(p_values):
    assert all(q >= p for p, q in zip(p_values, holm(p_values), strict=True))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_coverage_over_seeds(n):
    """Of 2,000 studies: 95 % ± 3 standard errors (1.5 points), for means, paired differences and
    deviations.
    """
    random = np.random.default_rng(n)
    held = dict.fromkeys(["mean", "difference", "deviation"], 0)
    for _ in range(2000):
        luck = random.normal(0, 0.03, n)  # what a seed does to every encoder
        first, second = (
            0.7 + luck + random.normal(0, 0.01, n),
            0.68 + luck + random.normal(0, 0.01, n),
        )
        over = summarize(list(first))
        held["mean"] += over.low <= 0.7 <= over.high
        paired = paired_difference(dict(enumerate(first)), dict(enumerate(second))).over
        held["difference"] += paired.low <= 0.02 <= paired.high
        low, high = deviation_interval(first)
        held["deviation"] += low <= np.hypot(0.03, 0.01) <= high
    for kind, count in held.items():
        assert 0.935 <= count / 2000 <= 0.965, kind


def test_claims_without_a_difference_are_rare():
    """Holm over the six pairs of four equal encoders: any claim in at most 5 % of 500 studies (+ 3
    errors).
    """
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(500):
        runs = [dict(enumerate(random.normal(0.7, 0.02, 4))) for _ in range(4)]
        p = holm([paired_difference(runs[i], runs[j]).p for i in range(4) for j in range(i)])
        wrong += min(p) < 0.05
    assert wrong / 500 <= 0.08


def test_effect_size_by_hand():
    difference = paired_difference({0: 0.70, 1: 0.72, 2: 0.74}, {0: 0.65, 1: 0.66, 2: 0.70})
    assert difference.effect == pytest.approx(
        5 * (1 - 3 / 7)
    )  # mean 5 points, deviation 1 point, two degrees
    assert math.isnan(paired_difference({0: 0.7, 1: 0.8}, {0: 0.6, 1: 0.6}).effect)


def test_deviation_interval_by_hand():
    low, high = deviation_interval(
        [0.70, 0.72, 0.71]
    )  # chi-square with two degrees: -2 ln of the tail
    assert low == pytest.approx(0.01 * math.sqrt(2 / (-2 * math.log(0.025))))
    assert high == pytest.approx(0.01 * math.sqrt(2 / (-2 * math.log(0.975))))
    assert np.isnan(deviation_interval([0.7, 0.8])).all()
