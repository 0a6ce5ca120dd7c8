"""Rule 8: position embeddings are resized as the authors of the weights do it, at every size."""

import numpy as np
import pytest
import timm
import torch
import transformers
from torch import nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Normalization
from encoder_ablations.encoders.bodies.positions import RULES, resize_positions
from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import ROWS, find_row
from encoder_ablations.encoders.table.rows import ViTRow
from encoder_ablations.encoders.weights.loading import load_weights

SIZES = [(224, 224), (512, 512), (512, 640), (500, 333), (160, 224)]
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TINY = {"embed_dim": 48, "depth": 3, "num_heads": 3}


def random_positions(prefix, side, channels=48):
    return torch.randn(1, prefix + side**2, channels, generator=torch.Generator().manual_seed(0))


def original_dinov2(square, grid):
    """``interpolate_pos_encoding`` of facebookresearch/dinov2 restated: scale (n + 0.1) / M,
    bicubic, no antialias."""
    scale = tuple(float(n + 0.1) / square.shape[-1] for n in grid)
    return F.interpolate(square, mode="bicubic", antialias=False, scale_factor=scale)


def cubic_matrix(source, target):
    """Weights target×source of bicubic resizing without antialiasing (Keys, 1981, a = -0.75),
    half-pixel centres."""
    weights = np.zeros((target, source))
    for i in range(target):
        centre = (i + 0.5) * source / target - 0.5
        for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            x = abs(centre - j)
            near, far = 1.25 * x**3 - 2.25 * x**2 + 1, -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[i, np.clip(j, 0, source - 1)] += near if x <= 1 else far
    return weights


def original_mae(square, grid):
    """``interpolate_pos_embed`` of facebookresearch/mae by the formula of its bicubic resizing,
    in float64."""
    rows, columns = (cubic_matrix(square.shape[-1], n) for n in grid)
    return torch.from_numpy(
        np.einsum("hr,bcrs,ws->bchw", rows, square.double().numpy(), columns)
    ).float()


def linear_matrix(source, target, antialias):
    """Weights target×source of bilinear resizing, half-pixel centres; antialiasing widens the
    triangle by the factor of shrinking."""
    places, centres = np.arange(source) + 0.5, (np.arange(target) + 0.5) * source / target
    if not antialias:
        centres = centres.clip(0.5, source - 0.5)
    width = max(1.0, source / target) if antialias else 1.0
    weights = np.clip(1 - np.abs(places[None] - centres[:, None]) / width, 0, None)
    return weights / weights.sum(1, keepdims=True)


def linear(square, grid, antialias):
    rows, columns = (linear_matrix(square.shape[-1], n, antialias) for n in grid)
    return torch.from_numpy(
        np.einsum("hr,bcrs,ws->bchw", rows, square.double().numpy(), columns)
    ).float()


def original_pe(square, grid):
    """``_sample_abs_posemb`` of facebookresearch/perception_models: bilinear, no antialias."""
    return linear(square, grid, antialias=False)


def original_tips(square, grid):
    """``jax.image.resize(…, "bilinear")`` of google-deepmind/tips, which antialiases."""
    return linear(square, grid, antialias=True)


ORIGINALS = {
    "dinov2": original_dinov2,
    "mae": original_mae,
    "beit": original_mae,
    "pe": original_pe,
    "tips": original_tips,
}


@pytest.mark.parametrize("grid", [(32, 32), (32, 40), (32, 21), (10, 14), (14, 15), (1, 3)])
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("rule", RULES)
def test_rules_are_the_originals(rule, prefix, grid):
    positions = random_positions(prefix, 14)
    square = positions[:, prefix:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2)
    expected = ORIGINALS[rule](square, grid).flatten(2).transpose(1, 2)
    found = resize_positions(positions, grid, prefix, rule)
    assert torch.equal(found[:, :prefix], positions[:, :prefix])
    assert (found[:, prefix:] - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("rule", RULES)
def test_native_positions_are_untouched(rule):
    positions = random_positions(1, 14)
    assert resize_positions(positions, (14, 14), 1, rule) is positions


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("vit_base_patch16_224.mae", "mae"),
        ("vit_small_patch14_dinov2.lvd142m", "dinov2"),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_taps_equal_a_model_of_that_size(name, rule, size):
    """The reference model is built at exactly this grid and holds embeddings resized by the
    original's rule."""
    torch.manual_seed(0)
    options = {"num_classes": 0, "global_pool": "", "dynamic_img_pad": True, **TINY}
    model = timm.create_model(name, **options).eval()
    nn.init.normal_(model.pos_embed)
    patch, side = model.patch_embed.patch_size[0], model.patch_embed.grid_size[0]
    grid = tuple(-(-n // patch) for n in size)
    prefix = model.pos_embed.shape[1] - side**2
    square = model.pos_embed.data[:, prefix:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = square if grid == (side, side) else ORIGINALS[rule](square, grid)
    resized = torch.cat([model.pos_embed.data[:, :prefix], resized.flatten(2).transpose(1, 2)], 1)
    reference = timm.create_model(name, img_size=tuple(patch * n for n in grid), **options).eval()
    reference.load_state_dict(model.state_dict() | {"pos_embed": resized})
    model.patch_embed.strict_img_size = reference.patch_embed.strict_img_size = False
    images = torch.randn(1, 3, *size)
    with torch.inference_mode():
        found = ViTBody(model, [0, 2], True, IMAGENET, position_rule=rule).eval()(images)
        expected = reference.forward_intermediates(
            images, indices=[0, 2], norm=True, intermediates_only=True
        )
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape[-2:] == grid
            assert (ours - theirs).abs().max() <= (0 if grid == (side, side) else 1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_mae_equals_transformers_at_every_size(size, tmp_path):
    """The same weights in ``ViTMAEModel(…, interpolate_pos_encoding=True)``, which knows MAE's
    rule, too."""
    config = transformers.ViTMAEConfig(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=192,
        image_size=224,
        patch_size=16,
        mask_ratio=0.0,
        layer_norm_eps=1e-6,
    )
    torch.manual_seed(0)
    source = transformers.ViTMAEModel(config).eval()
    nn.init.normal_(source.embeddings.position_embeddings, std=0.5)
    torch.save(source.state_dict(), tmp_path / "mae.pth")
    model = timm.create_model(
        "vit_base_patch16_224.mae", num_classes=0, global_pool="", dynamic_img_pad=True, **TINY
    ).eval()
    load_weights(model, tmp_path / "mae.pth")
    model.patch_embed.strict_img_size = False
    rule = find_row("mae_b16").position_rule

    images = torch.randn(1, 3, *size)
    rows, columns = (-(-n // 16) for n in size)
    padded = F.pad(images, (0, 16 * columns - size[1], 0, 16 * rows - size[0]))
    noise = torch.arange(rows * columns, dtype=torch.float32)[
        None
    ]  # masks nothing and keeps the order
    with torch.inference_mode():
        found = ViTBody(model, [0, 1, 2], False, IMAGENET, position_rule=rule).eval()(images)
        states = source(
            padded, noise=noise, interpolate_pos_encoding=True, output_hidden_states=True
        ).hidden_states
    for ours, theirs in zip(found, states[1:], strict=True):
        expected = theirs[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))
        assert (ours - expected).abs().max() <= 1e-5


FAMILIES = {
    "CLIP": "timm",
    "SigLIP": "timm",
    "SigLIP 2": "timm",
    "DINOv2": "dinov2",
    "DINOv2 + registers": "timm",
    "DINOv3": "timm",
    "MAE": "mae",
    "ViT, supervised": "timm",
    "DeiT III": "mae",
    "SAM": "timm",
    "PE core": "pe",
    "PE spatial": "pe",
    "TIPSv2": "tips",
    "EVA-02": "mae",
    "AIMv2": "timm",
    "BEiT-3": "mae",
    "C-RADIOv3": "timm",
    "SigLIP 2 NaFlex": "timm",
}


def test_every_family_has_its_rule():
    found = {row.family: row.position_rule for row in ROWS if isinstance(row, ViTRow)}
    assert found == FAMILIES


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("dinov2_s14", "dinov2"),
        ("vit_small_patch14_dinov2", "dinov2"),
        ("vit_small_patch14_dinov2.lvd142m", "dinov2"),
        ("vit_small_patch14_reg4_dinov2", "timm"),
        ("vit_base_patch16_224.mae", "mae"),
        ("vit_tiny_patch16_224", "timm"),
        ("vit_base_patch16_siglip_224", "timm"),
        ("vit_small_patch16_dinov3", "timm"),
        ("deit_tiny_patch16_224", "mae"),
        ("eva02_tiny_patch14_224", "mae"),
        ("vit_pe_core_tiny_patch16_384", "pe"),
    ],
)
def test_a_timm_name_is_the_same_encoder(name, rule):
    with torch.device("meta"):
        body = build_encoder(EncoderSpec(name=name, weights="random")).body
    assert body.position_rule == body.facts()["position_rule"] == rule
    assert body.model.dynamic_img_size == (rule == "timm")
