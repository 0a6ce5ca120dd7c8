"""Rule 9: frozen is frozen, and the neck always learns."""

import inspect

import pytest
import timm
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.freezing import NORMS
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.utils.errors import InputError

NAMES = ["darknet_tiny", "vit_tiny_patch16_224", "test_resnet", "test_convnext"]


def make(name, freeze):
    return build_encoder(EncoderSpec(name=name, weights="random", channels=32, freeze=freeze))


def step(encoder):
    """One plain gradient step in training mode; returns the names of parameters and buffers that
    changed."""
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.train()
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    sum(level.square().mean() for level in encoder(torch.randn(2, 3, 64, 64)).values()).backward()
    optimizer.step()
    return {
        name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])
    }


@pytest.mark.parametrize("name", NAMES)
def test_frozen_body_never_changes(name):
    encoder = make(name, "body")
    encoder.load_state_dict(encoder.state_dict())
    changed = step(encoder)
    assert not [key for key in changed if key.startswith("body.")]
    assert [key for key in changed if key.startswith("neck.")]
    assert all(parameter.requires_grad for parameter in encoder.parts["neck"])


@pytest.mark.parametrize("name", ["darknet_tiny", "test_efficientnet"])
def test_trainable_body_changes_with_its_buffers(name):
    changed = step(make(name, "none"))
    assert any(key.startswith("body.") and key.endswith("running_mean") for key in changed)


@pytest.mark.parametrize("name", NAMES)
def test_first_blocks(name):
    encoder = make(name, 2)
    changed = step(encoder)
    for key in encoder.body.state_dict():
        depth = encoder.body.depth_of(key)
        if depth <= 2:
            assert f"body.{key}" not in changed, key
    assert any(
        encoder.body.depth_of(key.removeprefix("body.")) > 2
        for key in changed
        if key.startswith("body.")
    )


@pytest.mark.parametrize("name", NAMES)
def test_all_but_norms(name):
    encoder = make(name, "all_but_norms")
    norms = {
        id(p)
        for module in encoder.body.modules()
        if isinstance(module, NORMS)
        for p in module.parameters()
    }
    assert norms
    for parameter in encoder.parts["body"]:
        assert parameter.requires_grad == (id(parameter) in norms)


def test_frozen_body_builds_no_graph():
    encoder = make("vit_tiny_patch16_224", "body").train()
    assert not encoder.body.training
    assert all(module.training is False for module in encoder.body.modules())
    assert encoder.neck.training


def test_more_blocks_than_there_are():
    with pytest.raises(InputError, match=r"13 blocks asked for, this encoder has 12.*1\.\.12"):
        make("vit_tiny_patch16_224", 13)


def test_every_norm_of_timm_is_a_norm():
    """Also those that are no subclasses of PyTorch's."""
    classes = [getattr(timm.layers, name) for name in dir(timm.layers) if "Norm" in name]
    plain = [
        each
        for each in classes
        if inspect.isclass(each)
        and each.__name__.startswith(("LayerNorm", "RmsNorm", "SimpleNorm"))
    ]
    assert len(plain) > 5
    assert not [each.__name__ for each in plain if not issubclass(each, NORMS)]
    assert issubclass(timm.layers.BatchNormAct2d, NORMS)


def test_one_block_more_than_timm_counts():
    blocks = make("test_resnet", "none").body.max_depth - 1
    assert make("test_resnet", blocks).body_is_frozen is False
    with pytest.raises(InputError, match=rf"{blocks + 1} blocks asked for, .* has {blocks}"):
        make("test_resnet", blocks + 1)


def test_batch_norms_that_hold_their_activation_are_frozen_too():
    """timm's BatchNorm of EfficientNets is a module with children."""
    changed = step(make("test_efficientnet", 2))
    moved = {name for name in changed if "running_mean" in name and name.startswith("body.")}
    encoder = make("test_efficientnet", 2)
    fixed = {
        name
        for name, _ in encoder.body.named_buffers(prefix="body")
        if encoder.body.depth_of(name.removeprefix("body.")) <= 2
    }
    assert fixed
    assert moved
    assert not moved & fixed
