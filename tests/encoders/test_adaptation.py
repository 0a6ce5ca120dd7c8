"""Adapters learn beside a fixed body. They begin without effect, and can be merged."""

import sys

import pytest
import torch
from torch import nn

from encoder_ablations.encoders.adaptation import add_adapters, merge_adapters, plain_names
from encoder_ablations.encoders.base import Body, Encoder, Normalization
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.pyramids.necks import BareTaps
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError
from tests.encoders.small_vits import small_encoder

# name -> layers that have adapters by default, with * for numbers
FAMILIES = {
    "test_vit": {"blocks.*.attn.qkv", "blocks.*.attn.proj"},
    "darknet_tiny": {"stages.*.conv_down.conv", "stages.*.blocks.*.conv*.conv"},
    "unet_tiny": {"stages.*.layers.*"},
    "test_convnext": {"stages.*.blocks.*.mlp.fc*", "stages.*.downsample.*"},
    "test_resnet": {"layer*.*.conv*", "layer*.*.downsample.*"},
    "efficientnet_lite0": {"blocks.*.*.conv_pw", "blocks.*.*.conv_pwl"},
}
LORA = {"rank": 2}


def spec(name="test_vit", lora=LORA, **fields):
    adapt = {} if lora is None else {"adapt": {"lora": lora}}
    return EncoderSpec(name=name, weights="random", **adapt, **fields)


def images(height=64, width=96):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def set_adapters(encoder):
    """Give the adapters an effect, as training does."""
    generator = torch.Generator().manual_seed(0)
    own = encoder.adapter_names
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name in own:
                parameter.normal_(std=0.1, generator=generator)


def short(name):
    """The pattern of ``FAMILIES`` for a layer: numbers, also at the end of a part, are ``*``."""
    parts = name.removeprefix("reader.").removeprefix("model.").split(".")
    return ".".join(part.rstrip("0123456789") + "*" * part[-1].isdigit() for part in parts)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_new_adapter_changes_nothing_and_all_else_starts_the_same(name):
    plain, adapted = (build_encoder(spec(name, lora), seed=3).eval() for lora in (None, LORA))
    expected, found = plain(images()), adapted(images())
    assert all(torch.equal(expected[level], found[level]) for level in expected)
    assert {short(layer) for layer in adapted.adapters} == FAMILIES[name]
    set_adapters(adapted)
    changed = adapted(images())
    assert not any(torch.equal(changed[level], value) for level, value in found.items())


@pytest.mark.parametrize("name", ["test_vit", "darknet_tiny", "test_convnext"])
def test_adapters_and_neck_learn_and_nothing_else_changes(name):
    encoder = build_encoder(spec(name)).train()
    assert not encoder.body_is_frozen
    set_adapters(encoder)  # where B is 0, the gradient of A is
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    sum(level.square().mean() for level in encoder(images()).values()).backward()
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter -= parameter.grad.sign()
    after = encoder.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    neck = {f"neck.{key}" for key, _ in encoder.neck.named_parameters()}
    assert encoder.adapter_names <= changed <= encoder.adapter_names | neck


def test_statistics_of_batch_norms_are_those_of_a_frozen_body():
    encoder = build_encoder(spec("darknet_tiny"))
    assert encoder.batch_norm == "estimate"
    assert not any(part.training for part in encoder.body.modules() if "Norm" in repr(type(part)))
    with pytest.raises(InputError, match=r"batch_norm learn .* with adapt"):
        build_encoder(spec("darknet_tiny", batch_norm="learn"))


def test_adapters_have_a_random_stream_of_their_own():
    first, same, other = (
        build_encoder(spec(taps=taps), seed)
        for taps, seed in (((0.25, 0.5, 0.75, 1.0), 0), ((0.5, 0.5, 0.5, 0.5), 0), (None, 1))
    )
    key = "body.reader.model.blocks.0.attn.qkv.lora_A.default.weight"
    values = [encoder.state_dict()[key] for encoder in (first, same, other)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_blocks_behind_the_last_tap_have_no_adapters():
    encoder = build_encoder(spec("vit_tiny_patch16_224", neck="none", taps=(0.25,)))
    assert {name.split(".")[3] for name in encoder.adapters} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["qkv"], {"blocks.*.attn.qkv"}),
        (["attn.*", "mlp.fc2"], {"blocks.*.attn.qkv", "blocks.*.attn.proj", "blocks.*.mlp.fc*"}),
        (["patch_embed.proj"], {"patch_embed.proj"}),
    ],
)
def test_targets_are_ends_of_names_or_patterns(targets, expected):
    encoder = build_encoder(spec(lora={"rank": 2, "targets": targets}))
    assert {short(name) for name in encoder.adapters} == expected


@pytest.mark.parametrize(
    ("name", "pattern"), [("test_vit", "query"), ("test_convnext", "conv_dw"), ("test_vit", "kv")]
)
def test_a_pattern_without_a_layer_is_refused_with_the_names(name, pattern):
    """Depthwise convolutions have no adapters."""
    with pytest.raises(InputError, match=rf"'{pattern}'.*Allowed: .*blocks\.\*.*fc1"):
        build_encoder(spec(name, {"targets": [pattern]}))


def test_a_body_without_such_layers_is_refused():
    encoder = Encoder(Depthwise(), BareTaps(), None)
    with pytest.raises(InputError, match="no layer that LoRA can be added to"):
        add_adapters(encoder, spec(), 0)


class Depthwise(Body):
    widths, reductions = (3,), (1.0,)
    normalization = Normalization((0.5,) * 3, (0.5,) * 3)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, groups=3)

    def forward(self, images):
        return [self.conv(images)]


def test_an_adapter_that_the_model_would_pass_by_is_refused(monkeypatch):
    """BEiT computes with the weights of qkv without calling the layer."""
    with pytest.raises(InputError, match=r"blocks\.\*\.attn\.qkv would have no effect.*mlp\.fc1"):
        small_encoder(monkeypatch, "beit_base_patch16_224", adapt={"lora": LORA})
    lora = LORA | {"targets": ["attn.proj"]}
    assert small_encoder(monkeypatch, "beit_base_patch16_224", adapt={"lora": lora}).adapters


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"adapt": {"lora": {"rank": 0}}}, r"adapt\.lora\.rank.*greater than or equal to 1"),
        ({"adapt": {"lora": {"alpha": 0}}}, r"adapt\.lora\.alpha"),
        ({"adapt": {"lora": {"dropout": 1}}}, r"adapt\.lora\.dropout"),
        ({"adapt": {"lora": {"targets": []}}}, r"adapt\.lora\.targets.*at least 1"),
        ({"adapt": {"lore": {}}}, r"unknown key 'adapt\.lore'.*lora"),
        ({"adapt": {"lora": {}}, "freeze": "body"}, "remove freeze or adapt"),
        ({"adapt": {"lora": {}}, "freeze": 3}, "remove freeze or adapt"),
    ],
)
def test_settings_without_meaning_are_refused(fields, words):
    with pytest.raises(InputError, match=words):
        build(EncoderSpec, {"name": "test_vit"} | fields, "study.yaml")


def test_without_peft_a_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"pip install peft .*encoder-ablations\[lora\]"):
        build_encoder(spec())
    assert build_encoder(spec(lora=None))


@pytest.mark.parametrize("name", [*FAMILIES, "eva02_b14", "pe_core_b16", "mae_b16"])
def test_merged_adapters_give_the_same_maps_from_a_plain_body(name, monkeypatch):
    if name in FAMILIES:
        adapted, plain = build_encoder(spec(name)).eval(), build_encoder(spec(name, None))
    else:
        adapted = small_encoder(monkeypatch, name, adapt={"lora": LORA})
        plain = small_encoder(monkeypatch, name)
    # weights that no training has balanced magnify rounding: in double precision it stays small
    adapted = adapted.double()
    set_adapters(adapted)
    shown = images(128, 128).double()
    expected = adapted(shown)
    merged = merge_adapters(adapted)
    found = merged(shown)
    for level, value in expected.items():
        assert (found[level] - value).norm() <= 1e-9 * value.norm(), level
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert merged.body_is_frozen
    again = adapted(shown)
    assert all(torch.equal(again[level], value) for level, value in expected.items())


def test_plain_names_are_those_of_the_body_without_adapters():
    adapted, plain = build_encoder(spec()), build_encoder(spec(lora=None))
    assert list(plain_names(adapted).values()) == [
        name for name, _ in plain.body.named_parameters()
    ]
    assert plain_names(plain) == {name: name for name, _ in plain.body.named_parameters()}


@pytest.mark.parametrize("name", ["vit_ti16", "eva02_b14", "pe_core_b16"])
def test_dropout_of_adapters_is_on_in_training_alone(name, monkeypatch):
    """Also in the copies that some models need for images of another size."""
    lora = {"rank": 2, "dropout": 0.5}
    encoder = small_encoder(monkeypatch, name, adapt={"lora": lora})
    set_adapters(encoder)
    modes = {}
    for training in (True, False, True):
        encoder.train(training)
        pair = [encoder(images(64, 64))["p4"] for _ in range(2)]
        modes[training] = torch.equal(*pair)
    assert modes == {True: False, False: True}


def test_titles_and_specifications():
    plain, adapted = spec(lora=None), spec(lora={"rank": 4})
    assert adapted.title == "test_vit-random-lora4"
    assert adapted.protocol == "LoRA of rank 4"
    assert plain.protocol == "fine-tuned"
    assert spec(lora=None, freeze="body").protocol == "frozen"
    # run ids are hashes of this: encoders without adapters keep theirs
    assert "adapt" not in plain.model_dump()
    assert EncoderSpec.model_validate(adapted.model_dump(mode="json")) == adapted
