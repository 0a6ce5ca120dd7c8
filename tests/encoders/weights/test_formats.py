"""Every key layout leads to the same timm weights, and no name is dropped without a rule that
says so."""

import re

import pytest
import timm
import torch
import transformers

from encoder_ablations.encoders.weights.files import read_weights
from encoder_ablations.encoders.weights.formats import convert
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

SIZE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CLIP = {**SIZE, "intermediate_size": 128, "image_size": 32, "patch_size": 16}
DINO = {**SIZE, "image_size": 28, "patch_size": 14}
TEXT = {
    **SIZE,
    "intermediate_size": 128,
    "vocab_size": 60,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
DECODER = {
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}

TOWERS = {
    "clip": lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**CLIP)),
    "siglip": lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**CLIP)),
    "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**DINO)),
    "dinov2_gated": lambda: transformers.Dinov2Model(
        transformers.Dinov2Config(**DINO, use_swiglu_ffn=True)
    ),
    "dinov2_registers": lambda: transformers.Dinov2WithRegistersModel(
        transformers.Dinov2WithRegistersConfig(**DINO)
    ),
    "dinov3": lambda: transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(**SIZE, intermediate_size=128, num_register_tokens=4)
    ),
    "mae": lambda: transformers.ViTMAEModel(transformers.ViTMAEConfig(**CLIP)),
}

HUB_STYLE = {
    "clip": [(r"^", "vision_model.")],
    "siglip": [(r"^", "vision_model.")],
    "dinov3": [(r"^model\.layer\.", "layer.")],
    "mae": [
        (r"^layers\.", "encoder.layer."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    ],
    "dinov2_gated": [(r"\.mlp\.down_proj\.", ".mlp.weights_out.")],
}
"""Names in files on the hub, where they differ from those of today's ``state_dict()``."""

OLD_ATTENTION = [
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
]


def _random(model):
    with torch_stream(0, "test"), torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return {name: value.clone() for name, value in model.state_dict().items()}


def _rename(state, rules):
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def _assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TOWERS)
def test_names_of_hub_files_and_of_todays_transformers_mean_the_same(name):
    state = _random(TOWERS[name]())
    attention = OLD_ATTENTION if name.startswith("dinov2") or name == "mae" else []
    hub = _rename(state, HUB_STYLE.get(name, []) + attention)
    if name == "dinov2_gated":  # one matrix on the hub
        for gate in [key for key in hub if ".gate_proj." in key]:
            halves = [hub.pop(gate), hub.pop(gate.replace("gate_proj", "up_proj"))]
            hub[gate.replace("gate_proj", "weights_in")] = torch.cat(halves)
    if name in ("clip", "siglip"):
        hub["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    assert hub.keys() != state.keys()
    _assert_equal(convert(hub).tensors, convert(state).tensors)


@pytest.mark.parametrize("name", TOWERS)
def test_files_written_by_transformers_are_read(name, tmp_path):
    model = TOWERS[name]()
    state = _random(model)
    model.save_pretrained(tmp_path)
    _assert_equal(
        convert(read_weights(tmp_path / "model.safetensors")).tensors, convert(state).tensors
    )


WHOLE_MODELS = {
    "clip": lambda: transformers.CLIPModel(
        transformers.CLIPConfig(text_config=TEXT, vision_config=CLIP)
    ),
    "clip_projection": lambda: transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(**CLIP)
    ),
    "siglip": lambda: transformers.SiglipModel(
        transformers.SiglipConfig(text_config=TEXT, vision_config=CLIP)
    ),
    "dinov2": lambda: transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**DINO)),
    "mae": lambda: transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**CLIP, **DECODER)),
    "vit": lambda: transformers.ViTForImageClassification(transformers.ViTConfig(**CLIP)),
}
BODY = re.compile(r"(vision_model|dinov2|vit)\.(?!head\.|embeddings\.mask_token)")


@pytest.mark.parametrize("name", WHOLE_MODELS)
def test_only_the_vision_tower_of_a_whole_model_is_used(name):
    state = _random(WHOLE_MODELS[name]())
    converted = convert(state)
    assert set(converted.dropped) == {key for key in state if not BODY.match(key)}
    assert converted.dropped
    tower = {BODY.sub("", key): value for key, value in state.items() if BODY.match(key)}
    _assert_equal(converted.tensors, convert(tower).tensors)


@pytest.mark.parametrize("name", TOWERS)
def test_a_name_that_no_rule_knows_is_an_error(name):
    state = _random(TOWERS[name]())
    for key in state.keys() - set(convert(state).dropped):
        with pytest.raises(
            InputError, match=re.escape(f"'{key}_extra' is no parameter of the layout")
        ):
            convert({**state, f"{key}_extra": state[key]})


def test_two_spellings_of_one_parameter_are_an_error():
    state = _random(TOWERS["dinov2"]())
    key = "encoder.layer.0.attention.q_proj.weight"
    with pytest.raises(InputError, match="a second time under another spelling"):
        convert({**state, "encoder.layer.0.attention.attention.query.weight": state[key]})


@pytest.mark.parametrize("name", TOWERS)
def test_every_tensor_of_the_body_arrives(name):
    """Nothing is lost on the way: as many numbers as in the file, without the tokens that only
    pre-training needs."""
    state = _random(TOWERS[name]())
    converted = convert(state)
    kept = sum(value.numel() for key, value in state.items() if key not in converted.dropped)
    folded = (
        64 if name == "dinov2_registers" else 0
    )  # the class token's position is added to the token
    assert sum(value.numel() for value in converted.tensors.values()) == kept - folded
    assert all(re.search(r"mask_token$|^head\.", key) for key in converted.dropped)


def _timm_state(name, **options):
    model = timm.create_model(
        name, embed_dim=64, depth=2, num_heads=4, num_classes=0, global_pool="", **options
    )
    return _random(model)


@pytest.mark.parametrize("whole", [True, False])
def test_openai_clip(whole):
    """Names of openai/CLIP, clip/model.py."""
    expected = _timm_state("vit_base_patch16_clip_quickgelu_224.openai", img_size=32)
    rules = [
        (r"^blocks\.(\d+)\.norm(\d)\.", r"transformer.resblocks.\1.ln_\2."),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.attn\.qkv\.", ".attn.in_proj_"),
        (r"\.attn\.proj\.", ".attn.out_proj."),
        (r"\.mlp\.fc1\.", ".mlp.c_fc."),
        (r"\.mlp\.fc2\.", ".mlp.c_proj."),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"^patch_embed\.proj\.", "conv1."),
        (r"^cls_token$", "class_embedding"),
        (r"^pos_embed$", "positional_embedding"),
    ]
    state = _rename(expected, rules)
    state["class_embedding"] = state["class_embedding"].flatten()
    state["positional_embedding"] = state["positional_embedding"][0]
    state["proj"] = torch.zeros(64, 32)
    dropped = {"proj"}
    if whole:
        text = {
            f"transformer.resblocks.0.{key}": torch.zeros(3)
            for key in ("ln_1.weight", "attn.in_proj_weight")
        }
        text |= {
            key: torch.zeros(3)
            for key in ("positional_embedding", "text_projection", "logit_scale")
        }
        text |= {
            key: torch.zeros(3)
            for key in ("token_embedding.weight", "ln_final.weight", "ln_final.bias")
        }
        text |= {
            key: torch.tensor(7) for key in ("input_resolution", "context_length", "vocab_size")
        }
        state = {f"visual.{key}": value for key, value in state.items()} | text
        dropped = {"visual.proj", *text}
    converted = convert(state)
    assert converted.layout == "OpenAI CLIP"
    assert set(converted.dropped) == dropped
    _assert_equal(converted.tensors, expected)


@pytest.mark.parametrize("registers", [False, True])
def test_dinov2_hub(registers):
    """Names of facebookresearch/dinov2, dinov2/models/vision_transformer.py; positions include
    the class token's."""
    name = "vit_base_patch14_reg4_dinov2" if registers else "vit_base_patch14_dinov2"
    expected = _timm_state(name, img_size=28)
    state = {**expected, "mask_token": torch.zeros(1, 64)}
    if registers:
        state["register_tokens"] = state.pop("reg_token")
        own = torch.randn(1, 1, 64)
        state["cls_token"] = state["cls_token"] - own
        state["pos_embed"] = torch.cat([own, state["pos_embed"]], dim=1)
    converted = convert(state)
    assert converted.layout == "facebookresearch/dinov2"
    assert converted.dropped == ("mask_token",)
    _assert_equal(converted.tensors, expected)


def test_dinov2_hub_giant():
    expected = _timm_state("vit_giant_patch14_dinov2", img_size=28, mlp_ratio=5.5)
    state = _rename(expected, [(r"\.mlp\.fc1\.", ".mlp.w12."), (r"\.mlp\.fc2\.", ".mlp.w3.")])
    _assert_equal(convert({**state, "mask_token": torch.zeros(1, 64)}).tensors, expected)


@pytest.mark.parametrize("decoder", [False, True])
def test_mae_hub(decoder):
    """Names of facebookresearch/mae, models_mae.py; the published files are without decoder."""
    expected = _timm_state("vit_base_patch16_224.mae", img_size=32)
    extra = {}
    if decoder:
        names = [
            "mask_token",
            "decoder_pos_embed",
            "decoder_embed.weight",
            "decoder_blocks.0.norm1.weight",
        ]
        extra = {
            key: torch.zeros(3) for key in [*names, "decoder_norm.bias", "decoder_pred.weight"]
        }
    converted = convert({**expected, **extra})
    assert set(converted.dropped) == set(extra)
    _assert_equal(converted.tensors, expected)


@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_hub(gated):
    """Names of facebookresearch/dinov3, dinov3/models/vision_transformer.py; the key's bias is
    masked."""
    size = "small_plus" if gated else "base"
    expected = _timm_state(f"vit_{size}_patch16_dinov3_qkvb")
    rules = [(r"\.gamma_(\d)$", r".ls\1.gamma"), (r"^reg_token$", "storage_tokens")]
    if gated:
        rules += [(r"\.fc1_g\.", ".w1."), (r"\.fc1_x\.", ".w2."), (r"\.fc2\.", ".w3.")]
    state = _rename(expected, rules) | {
        "mask_token": torch.zeros(1, 64),
        "rope_embed.periods": torch.zeros(4),
    }
    for key in [key for key in state if key.endswith("q_bias")]:
        bias = [state.pop(key), torch.randn(64), state.pop(key.replace("q_bias", "v_bias"))]
        state[key.replace("q_bias", "qkv.bias")] = torch.cat(bias)
        state[key.replace("q_bias", "qkv.bias_mask")] = torch.cat(
            [torch.ones(64), torch.zeros(64), torch.ones(64)]
        )
    _assert_equal(convert(state).tensors, expected)


@pytest.mark.parametrize("root", ["", "visual.trunk."])
def test_timm(root):
    """timm's own names, also inside an OpenCLIP model, without classifier and pooling."""
    expected = _timm_state("vit_base_patch16_siglip_224.webli", img_size=32)
    heads = {key: torch.zeros(3) for key in ("head.weight", "attn_pool.q.weight")}
    state = {root + key: value for key, value in {**expected, **heads}.items()}
    beside = (
        {"text.token_embedding.weight": torch.zeros(3), "logit_scale": torch.zeros(1)}
        if root
        else {}
    )
    converted = convert({**state, **beside})
    assert set(converted.dropped) == {root + key for key in heads} | set(beside)
    _assert_equal(converted.tensors, expected)


def test_other_models_are_refused():
    with pytest.raises(
        InputError, match=r"not a known vision transformer \(first names: conv1\.weight"
    ):
        convert({"conv1.weight": torch.zeros(1), "bn1.weight": torch.zeros(1)})
