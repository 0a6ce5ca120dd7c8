"""What every encoder must give, whatever its kind, neck, grid and input size."""

import pytest
import timm
import torch

from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec

CASES = {
    "patch 16": {"name": "test_vit"},
    "patch 16, top-down": {"name": "test_vit", "top_down": True},
    "patch 16, simple pyramid": {"name": "test_vit", "neck": "simple_feature_pyramid"},
    "patch 14, native": {"name": "dinov2_s14"},
    "patch 14, resampled": {"name": "dinov2_s14", "grid": "resampled_patch"},
    "patch 14, rescaled": {"name": "dinov2_s14", "grid": "rescaled_input"},
    "patch 14, registers, simple pyramid": {
        "name": "dinov2_reg_s14",
        "neck": "simple_feature_pyramid",
    },
    "rotary positions": {"name": "dinov3_s16"},
    "patch 32": {"name": "vit_base_patch32_clip_quickgelu_224"},
    "no prefix token": {"name": "vit_base_patch16_siglip_224"},
    "darknet": {"name": "darknet_tiny"},
    "darknet, concatenating": {"name": "darknet17", "neck": "fpn_concat"},
    "resnet": {"name": "test_resnet"},
    "efficientnet, concatenating": {"name": "test_efficientnet", "neck": "fpn_concat"},
    "convnext": {"name": "test_convnext"},
}
WITHOUT_TAPS = ("darknet", "test_resnet", "test_efficientnet", "test_convnext")
SIZES = [(64, 64), (128, 96), (75, 101)]
NARROW = {"embed_dim": 64, "num_heads": 4}


@pytest.fixture(autouse=True)
def _narrow_bodies(monkeypatch):
    """The ViT-S and ViT-B of timm are narrow here, and as deep as ever."""
    create = timm.create_model

    def create_narrow(name, **options):
        if name.startswith(("vit_small", "vit_base")):
            options = NARROW | options
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", create_narrow)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_pyramid(case):
    encoder = build_encoder(EncoderSpec(weights="random", channels=64, **case)).eval()
    for height, width in SIZES:
        with torch.inference_mode():
            maps = encoder.body(torch.randn(2, 3, height, width))
            pyramid = encoder(torch.randn(2, 3, height, width))
        for features, channels, reduction in zip(
            maps, encoder.body.widths, encoder.body.reductions, strict=True
        ):
            rows, columns = (-(-n // reduction) for n in (height, width))
            assert features.shape == (2, channels, rows, columns)
        assert list(pyramid) == ["p2", "p3", "p4", "p5"]
        for level in encoder.levels:
            rows, columns = (-(-n // level.stride) for n in (height, width))
            assert pyramid[level.name].shape == (2, level.channels, rows, columns)
            assert pyramid[level.name].isfinite().all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_same_seed_same_weights_and_all_parts_learn(case):
    first, second = (
        build_encoder(EncoderSpec(weights="random", channels=64, **case), seed=3) for _ in range(2)
    )
    state = second.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.state_dict().items())
    named = {id(parameter) for part in first.parts.values() for parameter in part}
    assert named == {id(parameter) for parameter in first.parameters()}


def test_equal_grids():
    """Rule 7: both ways give a patch-14 model the token grid of a patch-16 one; natively it has
    more tokens."""
    tokens = {
        grid: build_encoder(
            EncoderSpec(name="dinov2_s14", weights="random", grid=grid)
        ).body.tokens(512, 640)
        for grid in ("native", "resampled_patch", "rescaled_input")
    }
    regular = build_encoder(EncoderSpec(name="test_vit", weights="random")).body.tokens(512, 640)
    assert tokens["resampled_patch"] == tokens["rescaled_input"] == regular == 32 * 40
    assert tokens["native"] == 37 * 46


def test_padding_does_not_shift_features():
    """A bright spot is found at the same place of p2 whether or not the image is padded on its
    right and lower side."""
    encoder = build_encoder(EncoderSpec(name="dinov2_s14", weights="random", channels=64)).eval()
    assert isinstance(encoder.body, ViTBody)
    from encoder_ablations.encoders.pyramids.resize import resize_to_stride

    ramp = (
        torch.arange(0.5, 40).mul(14).view(1, 1, 1, -1).expand(1, 1, 40, 40)
    )  # pixel position of each patch's middle
    resized = resize_to_stride(ramp, 14, 4, (130, 130))
    expected = torch.arange(130) * 4 + 2.0
    inside = (expected > 7) & (expected < 40 * 14 - 7)
    assert torch.allclose(resized[0, 0, 0][inside], expected[inside], atol=1e-3)


def test_level_strides_are_monotonous():
    for name in ("test_vit", "darknet_tiny", "test_convnext"):
        encoder = build_encoder(EncoderSpec(name=name, weights="random"))
        assert [level.stride for level in encoder.levels] == [4, 8, 16, 32]


@pytest.mark.parametrize("name", ["darknet_tiny", "test_resnet", "test_convnext"])
@pytest.mark.parametrize("size", SIZES)
def test_stages_without_a_neck_are_a_pyramid_of_their_own_channels(name, size):
    encoder = build_encoder(EncoderSpec(name=name, weights="random", neck="none")).eval()
    with torch.inference_mode():
        images = torch.randn(1, 3, *size)
        maps, pyramid = encoder.body(images), encoder(images)
    assert [level.channels for level in encoder.levels] == list(encoder.body.widths)
    assert list(pyramid) == ["p2", "p3", "p4", "p5"]
    assert all(map(torch.equal, maps, pyramid.values()))
    assert not list(encoder.neck.parameters())


EARLY = {"taps": (0.25, 0.4, 0.5, 0.6), "final_norm": False}


def learning_and_reached(**fields):
    """Names of the trainable parameters, and of those that a gradient reaches when all are
    trainable."""
    encoder = build_encoder(EncoderSpec(weights="random", **fields))
    learning = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    encoder.requires_grad_(True)
    sum(level.square().mean() for level in encoder(torch.randn(1, 3, 64, 96)).values()).backward()
    return learning, {
        name for name, parameter in encoder.named_parameters() if parameter.grad is not None
    }


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_parameter_gets_a_gradient(case):
    """Position embeddings too, whichever rule resizes them."""
    learning, reached = learning_and_reached(channels=64, **case)
    assert learning == reached
    has_norm = not case["name"].startswith(WITHOUT_TAPS)
    assert ("body.reader.model.norm.weight" in learning) == has_norm


@pytest.mark.parametrize(
    "case", [each for each in CASES.values() if not each["name"].startswith(WITHOUT_TAPS)], ids=str
)
def test_what_no_tap_depends_on_does_not_learn(case):
    learning, reached = learning_and_reached(channels=64, **case, **EARLY)
    assert learning == reached
    assert "body.reader.model.norm.weight" not in learning


@pytest.mark.parametrize(
    ("fields", "blocks"),
    [
        ({"neck": "none", "taps": (0.01,)}, 1),
        ({"neck": "none", "taps": (0.5,), "final_norm": False}, 6),
        ({"neck": "none", "taps": (1.0,), "final_norm": False}, 12),
        ({"taps": EARLY["taps"]}, 8),
    ],
)
def test_the_blocks_up_to_the_last_tap_learn(fields, blocks):
    learning, reached = learning_and_reached(name="dinov2_reg_s14", **fields)
    assert learning == reached
    assert len([name for name in learning if name.endswith("attn.qkv.weight")]) == blocks
    assert ("body.reader.model.norm.weight" in learning) == fields.get("final_norm", True)


@pytest.mark.parametrize("freeze", [2, "all_but_norms"])
def test_freezing_leaves_nothing_trainable_without_a_gradient(freeze):
    learning, reached = learning_and_reached(name="test_vit", freeze=freeze, **EARLY)
    assert learning <= reached
    assert any(name.startswith("body.") for name in learning)
