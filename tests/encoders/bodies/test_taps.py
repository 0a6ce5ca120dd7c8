import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_ablations.encoders.bodies.taps import tap_indices
from encoder_ablations.utils.errors import InputError


@pytest.mark.parametrize(
    ("fractions", "depth", "expected"),
    [
        ((0.25, 0.5, 0.75, 1.0), 12, [2, 5, 8, 11]),
        ((0.25, 0.5, 0.75, 1.0), 24, [5, 11, 17, 23]),
        ((0.25, 0.5, 0.75, 1.0), 4, [0, 1, 2, 3]),
        ((0.9, 0.95, 0.99, 1.0), 12, [8, 9, 10, 11]),
        ((0.1, 0.1, 0.1, 0.1), 10, [0, 1, 2, 3]),
        ((0.3, 0.6, 0.7, 0.7), 10, [2, 5, 6, 7]),
    ],
)
def test_known(fractions, depth, expected):
    assert tap_indices(fractions, depth) == expected


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(sorted), st.integers(4, 40))
def test_always_distinct_and_in_range(fractions, depth):
    indices = tap_indices(fractions, depth)
    assert indices == sorted(set(indices))
    assert len(indices) == 4
    assert indices[0] >= 0
    assert indices[-1] < depth


def test_refusals():
    with pytest.raises(InputError, match="ascend"):
        tap_indices((0.5, 0.25), 12)
    with pytest.raises(InputError, match="at least as many blocks"):
        tap_indices((0.25, 0.5, 0.75, 1.0), 3)
