"""Positives and negatives in the share that was asked for, in every epoch."""

from collections import Counter

import numpy as np
import pytest

from encoder_ablations.data.loading.balancing import Mixed
from encoder_ablations.data.loading.training_views import Order
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream

SHOWS = np.arange(100) < 20


def epoch(order, number, length):
    return [order[position].place for position in range(number * length, (number + 1) * length)]


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_each_epoch_has_the_share(ratio):
    indices = list(range(5, 85))
    order = Order(Mixed(indices, SHOWS, ratio), 0)
    for number in range(4):
        shown = epoch(order, number, 80)
        assert sum(SHOWS[index] for index in shown) == round(80 * ratio)
        assert set(shown) <= set(indices)


def test_images_of_a_kind_are_shown_evenly_and_others_in_each_epoch():
    order = Order(Mixed(range(100), SHOWS, 0.9), 0)
    epochs = [epoch(order, number, 100) for number in range(30)]
    for shown in epochs:
        counts = Counter(shown)
        assert {counts[index] for index in range(20)} == {4, 5}
        assert all(counts[index] <= 1 for index in range(20, 100))
    assert len({index for shown in epochs for index in shown}) > 95
    assert epochs[0] != epochs[1]


def test_order_depends_on_seed_and_epoch_alone():
    mixed = Mixed(range(100), SHOWS, 0.5)
    first, again, other = (Order(mixed, seed) for seed in (0, 0, 1))
    epoch(first, 0, 100)
    assert epoch(first, 1, 100) == epoch(again, 1, 100) != epoch(other, 1, 100)


def test_without_mixing_the_order_is_as_it_was():
    expected = np.arange(10)[numpy_stream(7, "order", 2).permutation(10)].tolist()
    assert epoch(Order(list(range(10)), 7), 2, 10) == expected


@pytest.mark.parametrize(
    ("indices", "ratio", "message"),
    [
        (range(20, 30), 0.5, "none of the 10 training images shows the object"),
        (range(9), 0.5, "is without the object"),
    ],
)
def test_a_kind_that_is_missing_is_said(indices, ratio, message):
    with pytest.raises(InputError, match=message):
        Mixed(indices, SHOWS, ratio)
