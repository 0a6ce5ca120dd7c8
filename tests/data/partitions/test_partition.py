"""Every image belongs to one client, and the partitions are what their names say."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from encoder_ablations.data.partitions.partition import (
    DividedImages,
    divide,
    partition_fingerprint,
)
from encoder_ablations.data.partitions.spec import PartitionSpec, partition_title
from encoder_ablations.utils.errors import InputError

KINDS = ["iid", "scenes", {"dirichlet": 0.5}, {"label_skew": 2}]


def kind_of(content):
    return TypeAdapter(PartitionSpec).validate_python(content)


def images_of(count=60, classes=4, scenes=7, seed=0):
    """Images of which each shows a class most of all."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 20, (count, classes))
    counts[np.arange(count), np.arange(count) % classes] += 500
    names = [f"scene {number % scenes}" for number in range(count)]
    return DividedImages("x", counts, names)


def class_shares(images, places):
    """Return clients×K: which share of a client's pixels is of each class."""
    counts = np.stack([images.counts[own].sum(axis=0) for own in places])
    return counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("content", KINDS, ids=str)
def test_each_image_belongs_to_one_client(content):
    images, kind = images_of(), kind_of(content)
    places = divide(kind, images, 5, seed=3)
    assert sorted(place for own in places for place in own) == list(range(60))
    assert all(own and own == sorted(own) for own in places)
    assert divide(kind, images, 5, seed=3) == places
    assert divide(kind, images, 1, seed=3) == [list(range(60))]
    if content != "scenes":
        assert divide(kind, images, 5, seed=4) != places


def test_even_parts_have_equal_sizes():
    places = divide("iid", images_of(count=62), 5, seed=0)
    assert sorted(map(len, places)) == [12, 12, 12, 13, 13]


def test_a_scene_stays_with_one_client():
    images = images_of(scenes=7)
    places = divide("scenes", images, 3, seed=0)
    found = [{images.scenes[place] for place in own} for own in places]
    assert sum(map(len, found)) == 7
    assert max(map(len, places)) - min(map(len, places)) <= 9


def test_a_small_dirichlet_gives_unequal_classes():
    images = images_of(count=400)
    spreads = [
        class_shares(images, divide(kind_of({"dirichlet": alpha}), images, 4, 0)).std(axis=0).mean()
        for alpha in (0.1, 100)
    ]
    assert spreads[0] > 4 * spreads[1]


def test_dirichlet_shares_are_those_that_were_drawn():
    """With images of one class each, a client's share of a class is Dirichlet's."""
    counts = np.eye(2, dtype=np.int64)[np.arange(20000) % 2]
    images = DividedImages("x", counts)
    shares = []
    for seed in range(60):
        places = divide(kind_of({"dirichlet": 2.0}), images, 3, seed)
        shares += [counts[own].sum(axis=0) / 10000 for own in places]
    # Dir(2, 2, 2): mean 1/3, variance (1/3 · 2/3) / 7
    assert np.mean(shares) == pytest.approx(1 / 3)
    assert np.var(shares) == pytest.approx(2 / 9 / 7, rel=0.25)


def test_label_skew_gives_each_client_its_classes():
    images = images_of(count=400)
    shares = class_shares(images, divide(kind_of({"label_skew": 2}), images, 2, 0))
    assert ((shares > 0.3).sum(axis=1) == 2).all()
    assert ((shares < 0.1).sum(axis=1) == 2).all()
    assert set(np.argwhere(shares > 0.3)[:, 1]) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("content", "images", "clients", "words"),
    [
        ("scenes", images_of(scenes=3), 4, "4.*3 scenes"),
        ("scenes", DividedImages("x", np.ones((5, 2))), 2, "scene_pattern"),
        ("iid", images_of(count=3), 4, "3 training images"),
        ({"dirichlet": 0.001}, images_of(count=30), 30, "dirichlet 0.001"),
        ({"label_skew": 5}, images_of(), 2, "label_skew 5.*4 classes"),
        ({"label_skew": 1}, images_of(classes=2), 2, None),
        ({"label_skew": 1}, DividedImages("x", np.eye(2)[[0, 0, 0]]), 2, "no images"),
        ("iid", DividedImages("x", np.array([[0, 0], [3, 4]])), 2, "no labelled pixels"),
    ],
    ids=str,
)
def test_what_cannot_be_divided(content, images, clients, words):
    if words is None:
        assert divide(kind_of(content), images, clients, 0)
        return
    with pytest.raises(InputError, match=words) as error:
        divide(kind_of(content), images, clients, 0)
    assert "\n" not in str(error.value)


def test_the_fingerprint_tells_partitions_apart():
    several = [[["a", "b"], ["c"]], [["a"], ["b", "c"]], [["c"], ["a", "b"]], [["a", "b", "c"]]]
    assert len(set(map(partition_fingerprint, several))) == 4
    assert partition_fingerprint([["b", "a"], ["c"]]) == partition_fingerprint([["a", "b"], ["c"]])


def test_titles():
    assert [partition_title(kind_of(content)) for content in KINDS] == [
        "iid",
        "scenes",
        "dirichlet 0.5",
        "label skew 2",
    ]
