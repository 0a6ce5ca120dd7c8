"""Heads on timm's hierarchical encoders: two steps of training, and the same scores after loading.

Without a neck the levels have different channels, as those of the official ResNet configurations.
"""

import pytest
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import OptimizerSpec
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.spec import Mask2FormerSpec

FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=2, encoder_layers=1, decoder_layers=1, points=64
)
HEADS = {"linear": LinearSpec(name="linear"), "mask2former": FORMER}
NECKS = {"fpn_additive": {"channels": 32}, "fpn_concat": {"channels": 32}, "none": {}}


def make(encoder, neck, head, seed=0):
    spec = EncoderSpec(name=encoder, weights="random", neck=neck, **NECKS[neck])
    return build_segmenter(HEADS[head], build_encoder(spec, seed), 3, seed)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("neck", NECKS)
@pytest.mark.parametrize("encoder", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_two_steps_and_loading(encoder, neck, head, tmp_path):
    segmenter = make(encoder, neck, head).train()
    before = {name: value.clone() for name, value in segmenter.named_parameters()}
    optimizer = build_optimizer(segmenter, OptimizerSpec(lr=1e-2))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 61, 90), generator=generator)
    masks = torch.randint(0, 3, (2, 61, 90), generator=generator)
    for _ in range(2):
        loss = sum(segmenter.loss(images, masks).values())
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    still = [name for name, value in segmenter.named_parameters() if value.equal(before[name])]
    assert not [name for name in still if should_move(segmenter, name)]
    torch.save(segmenter.state_dict(), tmp_path / "model.pth")
    loaded = make(encoder, neck, head, seed=1)
    loaded.load_state_dict(torch.load(tmp_path / "model.pth"))
    with torch.inference_mode():
        scores = segmenter.eval().scores(images)
        assert scores.shape == (2, 3, 61, 90)
        assert torch.equal(loaded.eval().scores(images), scores)


def should_move(segmenter, name):
    """Whether a step changes a parameter: it must have a gradient, which may be zero."""
    gradient = segmenter.get_parameter(name).grad
    return gradient is None or bool(gradient.any())


@pytest.mark.parametrize("head", HEADS)
def test_levels_of_different_channels(head):
    segmenter = make("test_resnet", "none", head)
    assert [level.channels for level in segmenter.encoder.levels] == [32, 48, 192, 96]
    assert not segmenter.encoder.parts["neck"]
