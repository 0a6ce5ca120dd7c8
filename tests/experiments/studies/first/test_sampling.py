"""Fractions and seeds that a new dataset bears."""

import numpy as np

from encoder_ablations.data.datasets.subsets import subset, training_order
from encoder_ablations.experiments.studies.first.sampling import Sampling, propose_sampling

CLASSES = ("ground", "crater", "boulder", "dune")


def shown(images, *rare):
    """The first class in all images, each of the others in a few of its own."""
    present = np.zeros((images, len(rare) + 1), bool)
    present[:, 0] = True
    begin = 0
    for number, count in enumerate(rare, start=1):
        present[begin : begin + count, number] = True
        begin += count
    return present


def test_enough_images_get_the_usual_fractions_and_seeds():
    assert propose_sampling(shown(400, 20, 9, 30), CLASSES) == Sampling()
    assert Sampling() == Sampling((0.1, 1.0), (0, 1, 2), ())


def test_a_fraction_that_leaves_classes_without_images_is_replaced_and_named():
    # three classes in images of their own do not fit into two images
    present = shown(20, 3, 3, 3)
    found = propose_sampling(present, CLASSES)
    assert found.fractions == (0.2, 1.0)
    warning, few = found.remarks
    assert "2 training images" in warning
    assert any(name in warning for name in CLASSES[1:])
    assert "4 training images" in few
    assert len(found.seeds) == 5
    for seed in found.seeds:
        chosen = subset(training_order("segmentation", present, seed), found.fractions[0])
        assert present[chosen].any(axis=0).all()


def test_where_only_all_images_show_all_classes_there_is_one_fraction():
    found = propose_sampling(shown(4, 1, 1, 1), CLASSES)
    assert found.fractions == (1.0,)


def test_a_class_that_no_image_shows_is_named_and_decides_nothing():
    found = propose_sampling(shown(400, 20, 9, 0), CLASSES)
    assert found.fractions == (0.1, 1.0)
    assert "dune" in found.remarks[0]
