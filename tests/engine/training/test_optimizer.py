"""Rule 10: learning-rate groups and weight decay."""

import pytest
import timm
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.optimizers import REFUSED, optimizer_class
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training.checkpoints import (
    load_checkpoint,
    save_checkpoint,
)
from encoder_ablations.engine.training.optimizer import (
    build_optimizer,
    fused,
    parameter_groups,
    undecayed_names,
)
from encoder_ablations.engine.training.schedule import set_rates
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

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


SMALL = {"encoder": "test_vit", "segmenter": LinearSpec(name="linear")}
STATED = {"lr": 1e-2, "weight_decay": 0.0, "clip_norm": None}
USABLE = [
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and name.lower() not in ("optimizer", *REFUSED)
]


def stepped(segmenter, optimizer, steps):
    """Make steps whose gradients follow from the number of the step."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("name", USABLE)
def test_every_optimiser_goes_on_with_the_same_bits(name, tmp_path):
    """Also from a file that is read without unpickling code."""
    spec = OptimizerSpec(name=name, **STATED)
    whole = make(**SMALL)
    before = [parameter.detach().clone() for parameter in whole.parameters()]
    stepped(whole, build_optimizer(whole, spec), range(4))
    first = make(**SMALL)
    optimizer = build_optimizer(first, spec)
    stepped(first, optimizer, range(2))
    save_checkpoint(
        tmp_path / "last.pt", {"model": first.state_dict(), "optimizer": optimizer.state_dict()}
    )
    content = load_checkpoint(tmp_path / "last.pt")
    second = make(**SMALL)
    second.load_state_dict(content["model"])
    optimizer = build_optimizer(second, spec)
    optimizer.load_state_dict(content["optimizer"])
    stepped(second, optimizer, range(2, 4))
    values = list(zip(whole.parameters(), second.parameters(), before, strict=True))
    assert all(torch.equal(one, other) for one, other, _ in values)
    assert any(not torch.equal(one, old) for one, _, old in values)


def test_the_default_is_adamw_as_pytorch_computes_it():
    ours, theirs = make(**SMALL), make(**SMALL)
    stepped(ours, build_optimizer(ours, OptimizerSpec()), range(3))
    groups = parameter_groups(theirs, OptimizerSpec())
    stepped(theirs, torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999)), range(3))
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_sgd_in_groups():
    spec = OptimizerSpec(
        name="SGD",
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        clip_norm=None,
        settings={"nesterov": True},
    )
    segmenter = make(**SMALL)
    optimizer = build_optimizer(segmenter, spec)
    assert type(optimizer) is torch.optim.SGD
    groups = optimizer.param_groups
    assert {group["lr"] for group in groups} == {0.1, 0.1 * 0.1}
    assert {group["weight_decay"] for group in groups} == {0.0, 1e-4}
    assert all(group["momentum"] == 0.9 and group["nesterov"] for group in groups)
    assert spec == OptimizerSpec.model_validate(spec.model_dump())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"name": "sgdd", **STATED}, r"unknown optimiser 'sgdd'.*'sgd'"),
        ({"name": "lbfgs", **STATED}, "lbfgs cannot be used.*several times a step"),
        ({"name": "Muon", **STATED}, "muon cannot be used.*matrices"),
        ({"name": "sparseadam", **STATED}, "sparseadam cannot be used.*sparse"),
        ({"name": "sgd", "lr": 0.1}, "sgd needs weight_decay, clip_norm"),
        ({"momentum": 0.9}, "AdamW has no momentum"),
        ({"name": "sgd", **STATED, "betas": [0.9, 0.99]}, "SGD has no betas"),
        ({"name": "rprop", **STATED, "weight_decay": 0.1}, "Rprop has no weight_decay"),
        ({"settings": {"amsgrat": True}}, "unknown setting of AdamW 'amsgrat'.*'amsgrad'"),
        ({"settings": {"lr": 0.1}}, r"settings\.lr.*optimizer\.lr"),
        ({"settings": {"maximize": True}}, "unknown setting of AdamW 'maximize'"),
        ({"name": "sgd", **STATED, "settings": {"nesterov": True}}, "SGD refuses.*momentum"),
    ],
    ids=str,
)
def test_what_an_optimiser_cannot_take(content, words):
    with pytest.raises(InputError, match=rf"^x: 'optimizer': .*{words}") as error:
        build(Recipe, {"optimizer": content}, "x")
    assert "\n" not in str(error.value)
    assert not str(error.value).endswith("..")


def test_rates_keep_their_ratio():
    optimizer = build_optimizer(make(segmenter=LinearSpec(name="linear")), OptimizerSpec(lr=1.0))
    set_rates(optimizer, 0.25)
    assert {group["lr"] for group in optimizer.param_groups} == {0.25, 0.25 * 0.1}


@pytest.mark.parametrize(
    ("name", "device", "given", "expected"),
    [
        ("adamw", "cuda", {"lr": 1}, {"lr": 1, "fused": True}),
        ("adamw", "cpu", {"lr": 1}, {"lr": 1}),
        ("adamw", "cuda", {"foreach": False}, {"foreach": False}),
        ("sgd", "cuda", {}, {"fused": True}),
        ("nadam", "cuda", {}, {}),
    ],
)
def test_a_gpu_updates_all_weights_in_one_kernel_where_it_can(name, device, given, expected):
    assert fused(optimizer_class(name), given, torch.device(device)) == expected
