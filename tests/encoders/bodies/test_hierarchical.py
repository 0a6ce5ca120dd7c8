"""Models of timm with maps at strides 4 to 32: their maps are timm's own, at every size."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from encoder_ablations.encoders.base import Normalization
from encoder_ablations.encoders.bodies.hierarchical import HierarchicalBody
from encoder_ablations.encoders.bodies.stages import find_maps, prune, size_options
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.utils.errors import InputError

HALF = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FLAT = {"depths": (1, 1, 1, 1), "dims": (16, 32, 48, 64)}
FAMILIES = {
    "test_resnet": ({}, ["layer1", "layer2", "layer3", "layer4"]),
    "test_efficientnet": ({}, ["blocks.1", "blocks.2", "blocks.3", "blocks.4"]),
    "tf_efficientnet_lite0": ({}, ["blocks.1", "blocks.2", "blocks.4", "blocks.6"]),
    "test_convnext": ({}, ["stages.0", "stages.1", "stages.2", "stages.3"]),
    "convnext_tiny.dinov3_lvd1689m": (FLAT, ["stages.0", "stages.1", "stages.2", "stages.3"]),
    "swin_tiny_patch4_window7_224": (
        {"depths": (1, 1, 2, 2), "embed_dim": 16, "num_heads": (1, 2, 4, 8)},
        ["layers.0", "layers.1", "layers.2", "layers.3"],
    ),
    "sam2_hiera_tiny": (
        {"stages": (1, 2, 2, 2), "embed_dim": 16, "global_att_blocks": (4,)},
        ["blocks.0", "blocks.2", "blocks.4", "blocks.6"],
    ),
    "davit_tiny": (
        {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 48, 64), "num_heads": (1, 2, 3, 4)},
        ["stages.0", "stages.1", "stages.2", "stages.3"],
    ),
    "pvt_v2_b0": (
        {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 48, 64), "num_heads": (1, 2, 3, 4)},
        ["stages.0", "stages.1", "stages.2", "stages.3"],
    ),
    "fastvit_t8": (
        {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 128)},
        ["stages.0", "stages.1", "stages.2", "stages.3"],
    ),
    "repvit_m1": (
        {"depth": (1, 1, 1, 1), "embed_dim": (16, 32, 48, 64)},
        ["stages.0", "stages.1", "stages.2", "stages.3"],
    ),
    "mobilenetv4_conv_small": ({}, ["blocks.0", "blocks.1", "blocks.2", "blocks.4"]),
}
"""Every family by a small model: options that make it smaller, and the blocks of its four maps."""
CHANNELS_LAST = ("swin", "sam2")
SIZES = [(64, 64), (96, 160), (75, 101), (33, 128)]


def shrunk(name):
    """A small model with random weights and BatchNorm statistics, and the body that reads it.

    Norms and LayerScale, which begin with 0 or 1e-6, are random, too: no branch is without effect.
    """
    options, _ = FAMILIES[name]
    with torch.device("meta"):
        options = options | size_options(type(timm.create_model(name)))
        maps = find_maps(timm.create_model(name, num_classes=0, **options), name, options)
    torch.manual_seed(0)
    source = timm.create_model(name, num_classes=0, **options).eval()
    for tensor in [*source.parameters(), *source.buffers()]:
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data.uniform_(0.5, 1.5)
    model = timm.create_model(name, num_classes=0, **options)
    model.load_state_dict(source.state_dict())
    prune(model, maps.indices)
    return source, HierarchicalBody(model, maps, HALF).eval()


def hooked(source, blocks, images):
    """What the blocks of a model give in its own forward pass."""
    seen = {}
    handles = [
        source.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: seen.update({name: output})
        )
        for name in blocks
    ]
    source.forward_features(images)
    for handle in handles:
        handle.remove()
    return [seen[name] for name in blocks]


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_are_those_of_the_models_own_blocks(name):
    source, body = shrunk(name)
    for height, width in SIZES:
        images = torch.randn(2, 3, height, width)
        padded = F.pad(images, (0, -width % body.step, 0, -height % body.step))
        with torch.inference_mode():
            maps, expected = body(images), hooked(source, FAMILIES[name][1], padded)
        for ours, theirs, channels, stride in zip(
            maps, expected, body.widths, (4, 8, 16, 32), strict=True
        ):
            rows, columns = -(-height // stride), -(-width // stride)
            assert ours.shape == (2, channels, rows, columns)
            if name.startswith(CHANNELS_LAST):
                theirs = theirs.permute(0, 3, 1, 2)
            assert theirs.shape[1] == channels
            assert (ours - theirs[..., :rows, :columns]).abs().max() <= 1e-5
            assert ours.std() > 1e-4


@pytest.mark.parametrize("name", FAMILIES)
def test_exactly_what_is_read_gets_a_gradient(name):
    _, body = shrunk(name)
    sum(each.square().mean() for each in body(torch.randn(2, 3, 64, 96))).backward()
    for key, parameter in body.named_parameters():
        assert body.reads(key) == (parameter.grad is not None), key


@pytest.mark.parametrize("name", FAMILIES)
def test_depth_counts_blocks_without_a_gap(name):
    _, body = shrunk(name)
    depths = [body.depth_of(key) for key, _ in body.named_parameters()]
    assert set(depths) == set(range(body.max_depth))
    for key in body.state_dict():
        module = key.rpartition(".")[0]
        assert body.depth_of(f"{module}.") <= body.depth_of(key) < body.max_depth


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hiera_tiny_224", "224×224 pixels only"),
        ("maxvit_tiny_tf_224", "224×224 pixels only"),
        ("levit_128", "16, 32, 64"),
        ("mixer_s16_224", "are 16"),
    ],
)
def test_models_that_cannot_give_the_maps_are_refused(name, reason):
    with pytest.raises(InputError, match=rf"{name}.*{reason}.*resnet50") as raised:
        build_encoder(EncoderSpec(name=name, weights="random"))
    assert "timm:" not in str(raised.value)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_a_file_with_a_classifier_is_loaded(name, tmp_path):
    torch.manual_seed(1)
    source = timm.create_model(name)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    encoder = build_encoder(EncoderSpec(name=name, weights=str(tmp_path / "model.safetensors")))
    images = torch.randn(1, 3, 64, 64)
    taken = hooked(source.eval(), FAMILIES[name][1], images)
    with torch.inference_mode():
        for ours, theirs in zip(encoder.body.eval()(images), taken, strict=True):
            assert (ours - theirs).abs().max() <= 1e-5


def test_swin_shifts_its_windows_at_every_stage():
    """As the official code for detection and segmentation does at any size of image."""
    _, body = shrunk("swin_tiny_patch4_window7_224")
    assert [layer.blocks[-1].shift_size for layer in body.model.layers[2:]] == [(3, 3), (3, 3)]


def test_a_file_in_an_older_layout_is_converted_by_timm(tmp_path):
    """timm's downloads of Swin have tables of positions, and other names than its models."""
    name = "swin_tiny_patch4_window7_224"
    torch.manual_seed(1)
    state = timm.create_model(name).state_dict()
    older = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49)}
    for key, value in state.items():
        key = key.replace("head.fc.", "head.")
        for stage in (1, 2, 3):
            key = key.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample?")
        older[key.replace("?", "")] = value
    save_file(older, tmp_path / "model.safetensors")
    encoder = build_encoder(EncoderSpec(name=name, weights=str(tmp_path / "model.safetensors")))
    own = encoder.body.model.state_dict()
    assert "layers.3.downsample.reduction.weight" in own
    assert all(torch.equal(value, state[key]) for key, value in own.items())
    again = tmp_path / "again.safetensors"
    save_file({key: value for key, value in state.items() if "head" not in key}, again)
    loaded = build_encoder(EncoderSpec(name=name, weights=str(again))).body.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_a_file_of_another_model_names_the_first_shapes(tmp_path):
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"resnet18.*shapes differ: bn1.bias 32 instead of 64"):
        build_encoder(EncoderSpec(name="resnet18", weights=str(tmp_path / "model.safetensors")))
