"""The numbers in a page give the cosine similarities of the body's last map."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.inference import similarity
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.similarity import patch_features
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import LinearSpec


@pytest.fixture(scope="module", params=["darknet_tiny", "test_vit"])
def predictor(request):
    spec = EncoderSpec(name=request.param, weights="random", channels=32)
    segmenter = build_segmenter(LinearSpec(name="linear"), build_encoder(spec, 0), 2, 0).eval()
    return Predictor([Member(segmenter)], ("a", "b"))


@pytest.fixture(scope="module")
def image():
    """Four plain squares under a little noise, whose sides are no multiple of a patch."""
    squares = np.random.default_rng(0).integers(0, 230, (2, 2, 3))
    noise = np.random.default_rng(1).integers(0, 25, (100, 120, 3))
    return (squares.repeat(50, axis=0).repeat(60, axis=1) + noise).astype(np.uint8)


def test_products_are_cosines(predictor, image):
    found = patch_features(predictor, image)
    encoder = predictor.members[0].segmenter.encoder
    stride = encoder.body.reductions[-1]
    rows, columns = math.ceil(100 / stride), math.ceil(120 / stride)
    assert found.values.shape[:2] == (rows, columns)
    assert found.covered == pytest.approx((100 / (rows * stride), 120 / (columns * stride)))
    with torch.no_grad():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        maps = predictor.members[0].segmenter.features(pixels).maps[-1]
    vectors = maps[0, :, :rows, :columns]
    expected = F.cosine_similarity(vectors, vectors[:, 1:2, 2:3], dim=0)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found.similarity(1, 2), expected, atol=0.03)


def test_finer_maps_are_averaged_to_the_largest_grid(predictor, image, monkeypatch):
    whole = patch_features(predictor, image)
    monkeypatch.setattr(similarity, "SIDE", 2)
    small = patch_features(predictor, image)
    assert max(small.values.shape[:2]) == 2
    assert all(0 < side <= 1 for side in small.covered)
    assert small.values.nbytes < whole.values.nbytes
