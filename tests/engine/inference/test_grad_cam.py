"""Seg-Grad-CAM equals captum's Grad-CAM of the summed scores of a region."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.inference.grad_cam import chosen_level, seg_grad_cam
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec
from encoder_ablations.utils.errors import InputError

CLASSES = ("background", "crater", "boulder")
HEIGHT, WIDTH = 64, 96
MASK2FORMER = {"queries": 5, "hidden": 64, "heads": 4, "encoder_layers": 1, "decoder_layers": 1}
HEADS = {
    "linear": LinearSpec(name="linear"),
    "mask2former": Mask2FormerSpec(name="mask2former", points=64, **MASK2FORMER),
}


@pytest.fixture(scope="module", params=HEADS)
def segmenter(request):
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32), 0)
    built = build_segmenter(HEADS[request.param], encoder, len(CLASSES), 0).eval()
    with torch.no_grad():
        for parameter in built.head.parameters():
            parameter.normal_(std=0.2)  # scores that differ between places
    return built


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def region():
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[10:40, 20:70] = True
    return inside


class Tapped(torch.nn.Module):
    """The sum of each class's scores over a region, with a layer that hands on one level."""

    def __init__(self, segmenter, level, region):
        super().__init__()
        self.segmenter, self.level = segmenter, level
        self.region = torch.from_numpy(region)
        self.layer = torch.nn.Identity()

    def forward(self, images):
        levels = self.segmenter.pyramid(images)
        levels[self.level] = self.layer(levels[self.level])
        size = (HEIGHT, WIDTH)
        scores = self.segmenter.head.predict(levels, size).at(size)
        return (scores * self.region).sum(dim=(2, 3))


@pytest.mark.parametrize("level", ["p2", "p4"])
def test_it_equals_captums(segmenter, image, region, level):
    captum = pytest.importorskip("captum.attr", reason="captum, a test package, is not installed")
    tapped = Tapped(segmenter, level, region)
    images = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    found = captum.LayerGradCam(tapped, tapped.layer).attribute(
        images, target=1, relu_attributions=True
    )
    expected = F.interpolate(found, (HEIGHT, WIDTH), mode="bilinear").detach()
    assert expected.max() > 0
    predictor = Predictor([Member(segmenter)], CLASSES)
    predictor.predict(image)  # leaves nothing behind that gradients cannot flow through
    heat = seg_grad_cam(predictor, image, 1, region, chosen_level(predictor, level))
    np.testing.assert_allclose(heat, expected[0, 0] / expected.max(), atol=1e-4)


def test_frozen_weights_and_sizes_that_need_padding_change_nothing(segmenter, image, region):
    predictor = Predictor([Member(segmenter, short_side=40)], CLASSES)
    odd, inside = image[:61, :75], region[:61, :75]
    level = chosen_level(predictor)
    assert level.name == "p5"
    learning = seg_grad_cam(predictor, odd, 1, inside, level)
    segmenter.requires_grad_(False)
    frozen = seg_grad_cam(predictor, odd, 1, inside, level)
    segmenter.requires_grad_(True)
    assert frozen.shape == (61, 75)
    assert np.array_equal(learning, frozen)
    assert frozen.max() <= 1
    assert frozen.min() >= 0
    assert not seg_grad_cam(predictor, odd, 1, np.zeros((61, 75), bool), level).any()


def test_gradients_that_cancel_are_not_blown_up(image, region):
    """With 32 channels each of Mask2Former's GroupNorms has one channel, so no mean counts."""
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32), 0)
    spec = Mask2FormerSpec(name="mask2former", points=64, **MASK2FORMER | {"hidden": 32})
    predictor = Predictor([Member(build_segmenter(spec, encoder, 3, 0).eval())], CLASSES)
    assert not seg_grad_cam(predictor, image, 1, region, chosen_level(predictor, "p4")).any()


def test_what_cannot_be_explained_is_refused(segmenter):
    with pytest.raises(InputError, match="p9"):
        chosen_level(Predictor([Member(segmenter)], CLASSES), "p9")
    with pytest.raises(InputError, match="--runs"):
        chosen_level(Predictor([Member(segmenter)] * 2, CLASSES))
    with pytest.raises(InputError, match="--window"):
        chosen_level(Predictor([Member(segmenter)], CLASSES, InferenceSpec(window=64)))
