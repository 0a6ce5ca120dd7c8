"""Rules 1, 3, 5, 6, 8: the adapter's taps are the source model's block outputs, at every size."""

import pytest
import timm
import torch

from encoder_ablations.encoders.base import Normalization
from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.inspection import source_difference
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import ROWS, find_row

TINY = {"embed_dim": 48, "depth": 5, "num_heads": 3}
SOURCES = {
    "CLIP": "vit_base_patch16_clip_quickgelu_224",
    "SigLIP": "vit_base_patch16_siglip_224",
    "MAE": "vit_base_patch16_224",
    "DINOv2 + registers": "vit_base_patch14_reg4_dinov2",
    "DINOv3": "vit_base_patch16_dinov3",
}
SIZES = [(224, 224), (512, 512), (512, 640), (500, 333)]
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def make_model(name, **options):
    torch.manual_seed(0)
    tiny = TINY | ({"num_heads": 4, "embed_dim": 64} if "dinov3" in name else {})
    return timm.create_model(
        name,
        num_classes=0,
        global_pool="",
        dynamic_img_size=True,
        dynamic_img_pad=True,
        **tiny,
        **options,
    ).eval()


def hooked(model, images, taps, final_norm):
    """Block outputs as the model itself computes them, as maps without prefix tokens."""
    seen = {}
    handles = [
        model.blocks[i].register_forward_hook(lambda _m, _a, output, i=i: seen.update({i: output}))
        for i in taps
    ]
    model.forward_features(images)
    for handle in handles:
        handle.remove()
    rows, columns = (-(-n // model.patch_embed.patch_size[0]) for n in images.shape[-2:])
    maps = []
    for index in taps:
        tokens = model.norm(seen[index]) if final_norm else seen[index]
        patches = tokens[:, tokens.shape[1] - rows * columns :]
        maps.append(patches.transpose(1, 2).unflatten(2, (rows, columns)))
    return maps


@pytest.mark.parametrize("family", SOURCES)
@pytest.mark.parametrize("final_norm", [True, False])
def test_taps_are_block_outputs(family, final_norm):
    model = make_model(SOURCES[family])
    body = ViTBody(model, [0, 1, 3, 4], final_norm, IMAGENET).eval()
    for size in SIZES:
        images = torch.randn(1, 3, *size)
        with torch.inference_mode():
            expected = hooked(model, images, body.taps, final_norm)
            for ours, theirs in zip(body(images), expected, strict=True):
                assert (ours - theirs).abs().max() <= 1e-5, (family, size)


def test_final_norm_is_the_same_rule_for_every_tap():
    model = make_model(SOURCES["MAE"])
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        plain = ViTBody(model, [0, 4], False, IMAGENET)(images)
        normed = ViTBody(model, [0, 4], True, IMAGENET)(images)
        for before, after in zip(plain, normed, strict=True):
            tokens = model.norm(before.flatten(2).transpose(1, 2))
            assert (after.flatten(2).transpose(1, 2) - tokens).abs().max() <= 1e-5


def test_siglip_is_built_with_the_activation_it_was_trained_with():
    for name in ("siglip_b16", "siglip2_b16", "vit_base_patch16_siglip_224.webli"):
        with torch.device("meta"):
            model = build_encoder(EncoderSpec(name=name, weights="random")).body.model
        assert type(model.blocks[0].mlp.act).__name__ == "GELUTanh"


def test_clip_pre_norm_and_prefix_matter():
    """What rules 3 and 5 guard against is visible in the taps."""
    model = make_model(SOURCES["CLIP"])
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        right = ViTBody(model, [4], True, IMAGENET)(images)[0]
        model.norm_pre = torch.nn.Identity()
        without_norm = ViTBody(model, [4], True, IMAGENET)(images)[0]
    assert (right - without_norm).abs().max() > 1e-2
    assert model.num_prefix_tokens == 1
    assert make_model(SOURCES["SigLIP"]).num_prefix_tokens == 0
    assert make_model(SOURCES["DINOv3"]).num_prefix_tokens == 5


VITS = ["vit_ti16", "dinov2_s14", "dinov3_s16"]
STAGES = ["darknet53_in1k", "test_resnet", "test_efficientnet", "test_convnext"]


@pytest.mark.parametrize("name", VITS + STAGES)
@pytest.mark.parametrize("final_norm", [None, False])
def test_the_check_of_ablate_taps(name, final_norm):
    row = find_row(name)
    if name in STAGES and final_norm is False:
        pytest.skip("only ViTs have a final norm on their maps")
    encoder = build_encoder(EncoderSpec(name=name, weights="random", final_norm=final_norm))
    assert source_difference(encoder.body.eval(), row) <= 1e-5


def test_quickgelu_goes_with_openai_weights():
    """Rule 2."""
    for row in ROWS:
        if row.family == "CLIP":
            assert "quickgelu" in row.model
            model = timm.create_model(row.model, device="meta", num_classes=0)
            assert type(model.blocks[0].mlp.act).__name__ == "QuickGELU"
            assert not isinstance(model.norm_pre, torch.nn.Identity)


def test_normalization_is_the_sources():
    """Rule 4."""
    expected = {
        "clip_b16": (0.48145466, 0.26862954),
        "siglip_b16": (0.5, 0.5),
        "mae_b16": (0.485, 0.229),
    }
    for name, (mean, std) in expected.items():
        source = timm.get_pretrained_cfg(find_row(name).model)
        assert (source.mean[0], source.std[0]) == (mean, std)
    encoder = build_encoder(EncoderSpec(name="vit_tiny_patch16_224", weights="random"))
    source = timm.get_pretrained_cfg("vit_tiny_patch16_224")
    assert encoder.normalization == Normalization(source.mean, source.std)
