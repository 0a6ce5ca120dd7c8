"""The module that is exported predicts what the run's own prediction does."""

import numpy as np
import pytest
import torch

from encoder_ablations.data.views.transforms import at_short_side
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.export.photo_model import PhotoModel, Resizing
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec

CLASSES = ("background", "crater", "boulder")
HEADS = {
    "linear": LinearSpec(name="linear"),
    "mask2former": Mask2FormerSpec(
        name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1
    ),
}


def photo(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def as_batch(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("size", "short_side"),
    [((70, 90), 48), ((90, 70), 48), ((64, 50), 96), ((333, 517), 32), ((48, 48), 47)],
)
def test_resizing_by_matrices_is_that_of_the_evaluation_to_the_bit(size, short_side):
    image = photo(size)
    expected = as_batch(at_short_side(image, short_side)).float()
    found = Resizing(size, short_side / min(size))(as_batch(image))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("size", "short_side"), [(None, None), ((70, 90), None), ((70, 90), 48), ((48, 65), 48)]
)
def test_labels_and_probabilities_are_the_predictions(head, size, short_side):
    spec = EncoderSpec(name="test_resnet", weights="random", channels=32)
    segmenter = build_segmenter(HEADS[head], build_encoder(spec, 0), len(CLASSES), 0).eval()
    image = photo(size or (33, 50))
    expected = Predictor([Member(segmenter, short_side)], CLASSES).predict(image)
    with torch.inference_mode():
        labels, probabilities = PhotoModel(segmenter, size, short_side)(as_batch(image))
    assert labels.dtype == torch.uint8
    np.testing.assert_allclose(probabilities[0].numpy(), expected.probabilities, atol=1e-6)
    assert (labels[0].numpy() == expected.mask).mean() > 0.999
