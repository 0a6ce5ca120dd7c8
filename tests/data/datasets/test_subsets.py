import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from encoder_ablations.data.datasets.subsets import fingerprint, nested_order, subset
from encoder_ablations.utils.errors import InputError

presences = st_numpy.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 8)))
seeds = st.integers(0, 2**32)


@given(presences, seeds)
def test_order_holds_every_image_once_and_depends_on_the_seed_alone(presence, seed):
    order = nested_order(presence, seed)
    assert sorted(order) == list(range(len(presence)))
    assert order == nested_order(presence * 1000, seed)


@given(presences, seeds)
def test_every_beginning_shows_as_many_classes_as_the_next_image_can_add(presence, seed):
    order = nested_order(presence, seed)
    shown = np.zeros(presence.shape[1], bool)
    for index in order:
        gains = (presence & ~shown).sum(axis=1)
        assert gains[index] == gains.max()
        shown |= presence[index]


@given(presences, seeds, st.lists(st.floats(0.02, 1), min_size=2, max_size=5))
def test_subsets_are_nested(presence, seed, fractions):
    order = nested_order(presence, seed)
    usable = [fraction for fraction in sorted(fractions) if fraction * len(order) >= 0.5]
    chosen = [subset(order, fraction) for fraction in usable]
    for small, large in pairwise(chosen):
        assert set(small) <= set(large)
        assert small == sorted(small)


@pytest.mark.parametrize("seed", range(5))
def test_rare_classes_come_sooner_than_by_chance(seed):
    rng = np.random.default_rng(seed)
    presence = rng.random((300, 10)) < np.geomspace(0.01, 0.9, 10)
    order = nested_order(presence, seed)
    for size in (1, 3, 10, 30):
        random = [presence[rng.permutation(300)[:size]].any(axis=0).sum() for _ in range(20)]
        assert presence[order[:size]].any(axis=0).sum() >= max(random)


def test_other_seeds_give_other_orders():
    presence = np.ones((100, 2), bool)
    assert len({tuple(nested_order(presence, seed)) for seed in range(20)}) == 20
    assert len({nested_order(presence, seed)[0] for seed in range(20)}) > 10


def test_order_is_the_same_on_every_machine():
    assert nested_order(np.eye(6, 3), 0) == [1, 0, 2, 3, 4, 5]


def test_subset_rounds_and_is_never_empty():
    order = list(range(10))
    assert [len(subset(order, fraction)) for fraction in (0.05, 0.1, 0.14, 0.16, 0.5, 1)] == [
        1,
        1,
        1,
        2,
        5,
        10,
    ]


@pytest.mark.parametrize("count", [3, 7, 99, 367, 20210])
def test_too_small_a_fraction_names_one_that_works(count):
    with pytest.raises(InputError, match="the smallest fraction here is") as caught:
        subset(range(count), 0.49 / count)
    smallest = float(str(caught.value).split()[-1].rstrip("."))
    assert len(subset(range(count), smallest)) == 1
    assert smallest < 0.51 / count + 1e-6


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_impossible_fractions_are_refused(fraction):
    with pytest.raises(InputError, match="more than 0, at most 1"):
        subset(range(10), fraction)


def test_fingerprint_is_of_the_set():
    assert fingerprint(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest() == fingerprint(["a", "b"])
    assert fingerprint(["ab"]) != fingerprint(["a", "b"])
