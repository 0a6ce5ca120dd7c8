"""Connected areas of wrong pixels, and the IoU of single images."""

import numpy as np
import pytest

from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.metrics import mean_iou
from encoder_ablations.engine.evaluation.per_image import ImageCounts, PerImage, image_ious
from encoder_ablations.engine.evaluation.wrong_regions import wrong_regions


def test_regions_are_sorted_by_size_and_say_what_was_mistaken():
    truth = np.zeros((10, 12), np.int64)
    truth[1:5, 1:4] = 2
    predicted = np.zeros_like(truth)
    # touches the first region at a corner only
    predicted[5, 4] = 1
    predicted[8, 8:10] = 1
    first, second = wrong_regions("a", truth, predicted, 255, most=5)
    assert (first.pixels, first.box) == (13, (1, 1, 5, 4))
    assert (first.truth, first.predicted) == (2, 0)
    assert (second.pixels, second.box, second.truth, second.predicted) == (2, (8, 8, 1, 2), 0, 1)
    assert wrong_regions("a", truth, predicted, 255, most=1) == [first]


def test_ignored_pixels_are_in_no_region():
    truth = np.full((4, 4), 255)
    assert wrong_regions("a", truth, np.zeros_like(truth), 255, most=5) == []
    truth[:, 0] = 1
    (region,) = wrong_regions("a", truth, np.zeros_like(truth), 255, most=5)
    assert region.box == (0, 0, 4, 1)


def test_iou_of_images_is_that_of_their_matrices():
    rng = np.random.default_rng(0)
    matrices = [ConfusionMatrix(rng.integers(0, 3, (4, 4))) for _ in range(5)]
    matrices.append(ConfusionMatrix.empty(4))
    images = PerImage.of([ImageCounts.of(str(i), each) for i, each in enumerate(matrices)], 4)
    found = image_ious(images.margins())
    assert found == pytest.approx([mean_iou(each) for each in matrices], nan_ok=True)
