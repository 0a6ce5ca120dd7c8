"""Rule 10: learning-rate groups and weight decay."""

import math

import pytest
import timm
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import OptimizerSpec, ScheduleSpec
from encoder_ablations.engine.training.optimizer import (
    build_optimizer,
    parameter_groups,
    rate_factor,
    set_rates,
    undecayed_names,
)
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.spec import Mask2FormerSpec

DECAYED = ("qkv.weight", "conv.weight", "fc1.weight", "class_predictor.weight")
SMALL_MASK2FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1, points=32
)


def make(encoder="vit_tiny_patch16_224", segmenter=SMALL_MASK2FORMER, **options):
    built = build_encoder(EncoderSpec(name=encoder, weights="random", channels=32, **options))
    return build_segmenter(segmenter, built, 3, seed=0)


def settings(segmenter, spec):
    """Parameter name -> (learning rate, weight decay)."""
    groups = parameter_groups(segmenter, spec)
    return {
        name: (group["lr"], group["weight_decay"]) for group in groups for name in group["names"]
    }


def test_multiplier_on_the_body_only():
    found = settings(make(), OptimizerSpec(lr=1.0, encoder_lr_multiplier=0.1))
    for name, (rate, _) in found.items():
        assert rate == pytest.approx(0.1 if name.startswith("encoder.body.") else 1.0), name
    assert any(name.startswith("encoder.neck.") for name in found)


def test_adapters_learn_at_the_rate_of_the_head():
    """Not at that of the body; their matrices decay as others do."""
    segmenter = make(adapt={"lora": {"rank": 2}})
    spec = OptimizerSpec(lr=1.0, encoder_lr_multiplier=0.1, layer_decay=0.5, weight_decay=0.05)
    found = settings(segmenter, spec)
    in_body = {name: each for name, each in found.items() if name.startswith("encoder.body.")}
    assert in_body.keys() == {f"encoder.{name}" for name in segmenter.encoder.adapter_names}
    assert set(in_body.values()) == {(1.0, 0.05)}


def test_every_trainable_parameter_once():
    segmenter = make(freeze=3)
    groups = parameter_groups(segmenter, OptimizerSpec())
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in segmenter.parameters() if p.requires_grad)
    assert not any("blocks.2." in name for group in groups for name in group["names"])


@pytest.mark.parametrize(
    "encoder",
    [
        "vit_tiny_patch16_224",
        "dinov2_s14",
        "dinov2_reg_s14",
        "darknet_tiny",
        "test_convnext",
        "test_efficientnet",
    ],
)
def test_what_is_not_decayed(encoder):
    found = settings(make(encoder), OptimizerSpec(weight_decay=0.05))
    for name, (_, decay) in found.items():
        last = name.split(".")[-1]
        plain = last in (
            "bias",
            "gamma",
            "pos_embed",
            "cls_token",
            "reg_token",
            "level_embed",
        ) or any(word in name for word in ("norm", ".bn.", "queries_embedder", "queries_features"))
        if plain:
            assert decay == 0, name
    weights = [name for name in found if name.endswith(DECAYED)]
    assert weights
    assert all(found[name][1] == 0.05 for name in weights)


def test_relative_positions_are_not_decayed():
    """As in the official training script, which timm's own list agrees with."""
    with torch.device("meta"):
        body = build_encoder(
            EncoderSpec(name="swin_tiny_patch4_window7_224", weights="random")
        ).body
    found = undecayed_names(body)
    tables = [name for name, _ in body.named_parameters() if "relative_position" in name]
    assert len(tables) == 12
    assert not set(tables) - found
    assert "model.layers.0.blocks.0.attn.qkv.weight" not in found


def test_layer_decay_over_the_blocks_that_timm_counts():
    spec = OptimizerSpec(lr=1.0, encoder_lr_multiplier=1.0, layer_decay=0.5)
    segmenter = make("test_resnet")
    found, blocks = settings(segmenter, spec), segmenter.encoder.body.max_depth - 1
    model = "encoder.body.model."
    assert blocks == 4
    assert found[f"{model}layer4.0.conv1.weight"][0] == 0.5
    assert found[f"{model}layer1.0.conv1.weight"][0] == 0.5**blocks
    assert found[f"{model}conv1.0.weight"][0] == 0.5 ** (blocks + 1)


def test_agrees_with_timms_own_list():
    segmenter = make("dinov2_reg_s14")
    found = settings(segmenter, OptimizerSpec())
    for name in segmenter.encoder.body.model.no_weight_decay():
        full = f"encoder.body.reader.model.{name}"
        if full in found:
            assert found[full][1] == 0, name
    assert isinstance(segmenter.encoder.body.model, timm.models.VisionTransformer)


def test_layer_decay():
    found = settings(make(), OptimizerSpec(lr=1.0, encoder_lr_multiplier=1.0, layer_decay=0.5))
    model = "encoder.body.reader.model."
    assert found[f"{model}norm.weight"][0] == 1.0
    assert found[f"{model}blocks.11.attn.qkv.weight"][0] == 0.5
    assert found[f"{model}blocks.0.attn.qkv.weight"][0] == 0.5**12
    assert found[f"{model}patch_embed.proj.weight"][0] == 0.5**13
    assert found["encoder.neck.lateral.0.0.weight"][0] == 1.0


def test_schedules():
    for decay, middle in {"poly": 0.5**0.9, "cosine": 0.5, "linear": 0.5, "constant": 1.0}.items():
        spec = ScheduleSpec(decay=decay)
        assert rate_factor(0, 100, spec) == 1
        assert rate_factor(50, 100, spec) == pytest.approx(middle)
    warm = ScheduleSpec(decay="poly", warmup_steps=9)
    assert [rate_factor(step, 100, warm) for step in (0, 4, 8)] == pytest.approx([0.1, 0.5, 0.9])
    assert rate_factor(9, 100, warm) == 1
    values = [rate_factor(step, 100, warm) for step in range(9, 100)]
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 0.03
    assert math.isclose(values[-1], (1 / 91) ** 0.9)


def test_rates_keep_their_ratio():
    optimizer = build_optimizer(make(segmenter=LinearSpec(name="linear")), OptimizerSpec(lr=1.0))
    set_rates(optimizer, 0.25)
    assert {group["lr"] for group in optimizer.param_groups} == {0.25, 0.25 * 0.1}
