"""The contracting path of U-Net: maps that double their strides from 1 on."""

import pytest
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.utils.errors import InputError


def build(**settings):
    return build_encoder(EncoderSpec(name="unet_tiny", weights="random", **settings))


@pytest.mark.parametrize("size", [(64, 96), (75, 101), (1, 1)])
def test_levels_have_the_sizes_that_their_strides_promise(size):
    encoder = build().eval()
    assert [level.stride for level in encoder.levels] == [1, 2, 4, 8, 16]
    assert encoder.divisibility == 16
    levels = encoder(torch.randn(2, 3, *size))
    for level in encoder.levels:
        rows, columns = (-(-side // level.stride) for side in size)
        assert levels[level.name].shape == (2, level.channels, rows, columns)


def test_a_map_depends_on_its_stage_and_those_before():
    encoder = build()
    maps = encoder.body(torch.randn(2, 3, 32, 32))
    maps[2].sum().backward()
    learned = {
        name.split(".")[1]
        for name, value in encoder.body.named_parameters()
        if value.grad is not None
    }
    assert learned == {"0", "1", "2"}


def test_the_first_stages_can_be_frozen():
    learns = [
        any(value.requires_grad for value in stage.parameters())
        for stage in build(freeze=2).body.stages
    ]
    assert learns == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"neck": "fpn_additive"}, "neck 'fpn_additive' does not fit. Allowed: none"),
        ({"weights": "pretrained"}, "no pretrained weights"),
        ({"taps": (1.0,)}, "taps applies to timm's vision transformers only"),
        ({"channels": 64}, "channels belongs to a neck"),
    ],
)
def test_settings_that_it_does_not_have(settings, words):
    with pytest.raises(InputError, match=words):
        build_encoder(EncoderSpec(**{"name": "unet_tiny", "weights": "random"} | settings))
