"""Runs whose head reads the body itself: what is built, and which settings have no meaning then."""

import sys

import pytest
import torch

from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters import registry
from encoder_ablations.utils.errors import InputError

VIT = {"name": "test_vit", "weights": "random"}
EOMT = {"name": "eomt", "queries": 5, "points": 32}
OWN = '''
import torch
from torch import nn

from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import DenseSpec


@register_head("own_body", DenseSpec, reads="body")
class Own(DenseHead):
    """A linear layer on patches; in the last block each patch attends to itself alone."""

    @classmethod
    def build(cls, spec, encoder, num_classes):
        head, blocks = cls(spec, num_classes), encoder.body.as_blocks()
        head.stride = blocks.reduction
        head.classify = nn.Conv2d(blocks.width, num_classes, 1)
        return head

    def forward(self, given):
        blocks = given.blocks
        tokens = blocks.embed(given.images)
        alone = torch.eye(tokens.values.shape[1], dtype=torch.bool, device=given.images.device)
        for index in range(blocks.depth):
            last = index == blocks.depth - 1
            tokens = blocks.run(index, tokens, alone if last else None)
        return self.classify(tokens.as_map(blocks.norm(tokens)))
'''


def spec_of(terrain, encoder, segmenter=EOMT, **recipe):
    return RunSpec(encoder=encoder, segmenter=segmenter, dataset=terrain, recipe=recipe)


def test_no_neck_is_built(terrain):
    """Whether it is said or not; the body and the head start alike."""
    said, unsaid = (build_model(spec_of(terrain, VIT | neck)) for neck in ({"neck": "none"}, {}))
    assert not list(unsaid.encoder.neck.parameters())
    assert all(each.requires_grad for each in unsaid.parameters())
    for name, value in said.state_dict().items():
        assert torch.equal(value, unsaid.state_dict()[name]), name


@pytest.mark.parametrize(
    ("encoder", "recipe", "words"),
    [
        (VIT | {"neck": "simple_feature_pyramid"}, {}, "neck is about maps, but eomt reads the"),
        (VIT | {"taps": [0.5, 1.0], "neck": "none"}, {}, "taps is about maps"),
        (VIT | {"channels": 64}, {}, "channels is about maps"),
        (VIT | {"top_down": True}, {}, "top_down is about maps"),
        (VIT | {"final_norm": False}, {}, "final_norm is about maps"),
        (VIT | {"freeze": "body"}, {"feature_precision": "bf16"}, "bf16 rounds.*Use fp32"),
        ({"name": "test_resnet", "weights": "random"}, {}, "eomt.*plain vision"),
        ({"name": "unet_tiny", "weights": "random"}, {}, "eomt.*plain vision"),
    ],
)
def test_what_does_not_fit_is_one_line(terrain, encoder, recipe, words):
    with pytest.raises(InputError, match=words) as raised:
        build_model(spec_of(terrain, encoder, **recipe))
    assert "\n" not in str(raised.value)


def test_a_head_of_ones_own_runs_the_blocks(terrain, tmp_path, monkeypatch):
    """With a mask of its own in one block; dense heads take any loss."""
    (tmp_path / "own_body_heads.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        head = {"name": "own_body_heads:Own", "loss": {"dice": 1}}
        segmenter = build_model(spec_of(terrain, VIT, head))
        images = torch.randint(0, 256, (2, 3, 75, 101), dtype=torch.uint8)
        losses = segmenter.loss(images, torch.zeros(2, 75, 101, dtype=torch.int64))
        assert list(losses) == ["dice"]
        assert segmenter.eval().scores(images).shape == (2, 3, 75, 101)
    finally:
        sys.modules.pop("own_body_heads", None)
        registry.HEADS.entries.pop("own_body", None)
