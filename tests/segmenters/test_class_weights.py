"""Weights of classes: by name, by id, in order, or balanced."""

import pytest
import torch

from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.class_weights import class_weights_of, with_class_weights
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.errors import InputError

CLASSES = ["road", "sky", "7"]


def segmenter(weights):
    loss = {"cross_entropy": {"class_weights": weights}, "dice": 1}
    return load_segmenter({"name": "linear", "loss": loss})


@pytest.mark.parametrize(
    ("given", "pixels", "expected"),
    [
        ([1, 2, 0.5], [5, 5, 5], [1, 2, 0.5]),
        ({"sky": 3}, [5, 5, 5], [1, 3, 1]),
        ({2: 4.0, "0": 0}, [5, 5, 5], [0, 1, 4]),
        ({"7": 4.0}, [5, 5, 5], [1, 1, 4]),
        # 120 labelled pixels of 3 classes: 40 would be the mean
        ("balanced", [60, 20, 40], [40 / 60, 2, 1]),
        ("balanced", [60, 0, 20], [40 / 60, 0, 2]),
        ("balanced", None, [1, 1, 1]),
    ],
)
def test_weights_of_all_classes(given, pixels, expected):
    spec = segmenter(given)
    assert class_weights_of(spec, CLASSES, pixels) == {"cross_entropy": pytest.approx(expected)}
    resolved = with_class_weights(spec, CLASSES, pixels)
    assert resolved.loss["cross_entropy"]["class_weights"] == pytest.approx(expected)
    assert resolved.loss["dice"] == spec.loss["dice"]
    assert spec.loss["cross_entropy"]["class_weights"] != pytest.approx(expected) or isinstance(
        given, list
    )


@pytest.mark.parametrize(
    ("given", "pixels", "words"),
    [
        ({"roads": 1}, [5, 5, 5], r"names 'roads'.*Did you mean 'road'\?.*road, sky, 7"),
        ({3: 1}, [5, 5, 5], "names '3'"),
        ([1, 2], [5, 5, 5], "2 numbers, but there are 3 classes"),
        ([0, 0, 0], [5, 5, 5], "all 0"),
        ({"road": 0, "sky": 0, "7": 0}, [5, 5, 5], "all 0"),
        ("balanced", [0, 0, 0], "no training image has a labelled pixel"),
    ],
)
def test_weights_that_fit_no_class(given, pixels, words):
    with pytest.raises(InputError, match=words) as raised:
        with_class_weights(segmenter(given), CLASSES, pixels)
    assert "\n" not in str(raised.value)


def test_balanced_classes_count_the_same():
    """Whatever share of the pixels a class has, its part of the divisor is the same."""
    masks = torch.tensor([[[0] * 6 + [1] * 2 + [2] * 4 + [255] * 3]])
    pixels = torch.bincount(masks.flatten(), minlength=256)[:3].tolist()
    (weights,) = class_weights_of(segmenter("balanced"), CLASSES, pixels).values()
    assert [weight * count for weight, count in zip(weights, pixels, strict=True)] == [4, 4, 4]


def test_heads_without_dense_losses_have_no_class_weights():
    spec = load_segmenter("mask2former")
    assert class_weights_of(spec, CLASSES, [1, 2, 3]) == {}
    assert with_class_weights(spec, CLASSES, [1, 2, 3]) is spec


def test_weights_that_depend_on_a_dataset_are_not_guessed(make_encoder):
    with pytest.raises(InputError, match="depend on a dataset"):
        build_segmenter(segmenter("balanced"), make_encoder(), 3, seed=0)
