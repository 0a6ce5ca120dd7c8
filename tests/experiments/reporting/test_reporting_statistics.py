import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_ablations.experiments.reporting.statistics import Summary, holm, paired_difference, summarize

T_975_DF2 = 4.302652729749464  # from a printed table of Student's t
scores = st.floats(0, 1, allow_nan=False)


def test_interval_of_three_seeds_by_hand():
    summary = summarize([0.70, 0.72, 0.71])
    half_width = T_975_DF2 * 0.01 / math.sqrt(3)
    assert summary.mean == pytest.approx(0.71)
    assert summary.std == pytest.approx(0.01)
    assert summary.half_width == pytest.approx(half_width)
    assert (summary.low, summary.high) == (pytest.approx(0.71 - half_width), pytest.approx(0.71 + half_width))
    assert summary.text() == "71.0 ± 2.5 (n=3)"
    assert summary.text(with_n=False) == "71.0 ± 2.5"
    assert summary.spread == "95 % interval"


def test_two_seeds_give_a_range_that_is_called_a_range():
    summary = summarize([0.70, 0.73])
    assert summary.half_width is None
    assert (summary.low, summary.high, summary.spread) == (0.70, 0.73, "range")
    assert summary.text() == "71.5 (range 70.0–73.0, n=2)"
    assert summary.std == pytest.approx(0.03 / math.sqrt(2))


def test_one_seed_is_a_value_and_none_is_a_dash():
    assert summarize([0.712]).text() == "71.2 (n=1)"
    assert summarize([0.712]).spread == ""
    assert summarize([0.712]).std is None
    assert summarize([]) == Summary(0)
    assert summarize([]).text() == "–"


def test_other_units():
    assert summarize([200, 240, 280]).text(scale=1, digits=0) == "240 ± 99 (n=3)"


@given(st.lists(scores, max_size=8))
def test_intervals_exist_only_from_three_seeds_on(values):
    summary = summarize(values)
    assert summary.n == len(values)
    assert (summary.half_width is not None) == (len(values) >= 3)
    assert ("±" in summary.text()) == (len(values) >= 3)
    if values:
        assert summary.low - 1e-12 <= summary.mean <= summary.high + 1e-12


def test_paired_difference_by_hand():
    difference = paired_difference({0: 0.70, 1: 0.72, 2: 0.74, 9: 0.1}, {0: 0.65, 1: 0.66, 2: 0.70, 7: 0.9})
    t = 0.05 / (0.01 / math.sqrt(3))
    assert difference.over.n == 3
    assert difference.over.mean == pytest.approx(0.05)
    assert difference.over.half_width == pytest.approx(T_975_DF2 * 0.01 / math.sqrt(3))
    assert difference.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))  # closed form for two degrees of freedom
    assert (difference.wins, difference.losses) == (3, 0)


@given(st.dictionaries(st.integers(0, 3), scores, max_size=4), st.dictionaries(st.integers(0, 3), scores, max_size=4))
def test_no_test_below_three_shared_seeds(first, second):
    difference = paired_difference(first, second)
    shared = first.keys() & second.keys()
    assert (difference is None) == (not shared)
    if difference:
        assert difference.over.n == len(shared)
        if len(shared) < 3:
            assert difference.p is None
            assert difference.over.half_width is None


def test_equal_differences_are_not_tested():
    assert paired_difference({0: 0.5, 1: 0.6, 2: 0.7}, {0: 0.4, 1: 0.5, 2: 0.6}).p is None


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_never_makes_a_p_value_smaller(p_values):
    assert all(q >= p for p, q in zip(p_values, holm(p_values), strict=True))
