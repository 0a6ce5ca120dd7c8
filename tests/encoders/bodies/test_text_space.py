"""The way into the space of texts: the model's own pooled output, token by token."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.weights.loading import load_weights
from encoder_ablations.utils.errors import InputError
from tests.encoders.bodies.test_vit_blocks import images_of, run
from tests.encoders.small_vits import SIDE, create_small, randomise, small_encoder

WITH_TEXTS = ["clip_b16", "siglip_b16", "siglip2_b16", "tipsv2_b14", "eva02_base_patch16_clip_224"]
NO_TEXTS = ["vit_base_patch16_clip_224.openai_ft_in1k", "vit_base_patch16_siglip_gap_224.webli"]
VISION = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": SIDE,
    "patch_size": 16,
}

TEXT = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}


def text_body(monkeypatch, name, **fields):
    return small_encoder(monkeypatch, name, text=True, neck="none", **fields).body


def read_out(body, images):
    """In the space of texts, all tokens after all blocks."""
    blocks = body.as_blocks()
    with torch.no_grad():
        tokens = run(blocks, blocks.embed(images))
        return blocks.in_text_space(tokens)


def own_model(monkeypatch, name, body, **options):
    """The timm model with its own pooling, and the body's weights."""
    monkeypatch.undo()
    if "siglip" in name:
        options |= {"act_layer": "gelu_tanh"}
    model = create_small(name, **options).eval()
    model.load_state_dict(body.model.state_dict())
    return model


def test_the_class_token_of_clip_is_the_whole_models_output(monkeypatch):
    body = text_body(monkeypatch, "clip_b16")
    name = "vit_base_patch16_clip_quickgelu_224.openai"
    model = own_model(monkeypatch, name, body, num_classes=512)
    images = images_of((SIDE, SIDE))
    found = read_out(body.double(), images.double())
    assert found.shape == (2, 50, 512)
    with torch.no_grad():
        assert (found[:, 0] - model.double()(images.double())).abs().max() <= 1e-12


@pytest.mark.parametrize("name", ["siglip_b16", "siglip2_b16"])
def test_a_single_token_of_siglip_is_what_the_pool_makes_of_it(monkeypatch, name):
    """All of the pool's attention then goes to the one token."""
    body = text_body(monkeypatch, name)
    model = own_model(monkeypatch, "vit_base_patch16_siglip_224.webli", body)
    images = images_of((SIDE, SIDE)).double()
    found = read_out(body.double(), images)
    model.double()
    with torch.no_grad():
        each = [model.forward_head(part) for part in model.forward_features(images).split(1, 1)]
    assert (found - torch.stack(each, dim=1)).abs().max() <= 1e-12


def test_the_pool_with_uniform_attention_averages_the_values(monkeypatch):
    body = text_body(monkeypatch, "siglip_b16")
    pool = body.model.attn_pool
    blocks = body.as_blocks()
    with torch.no_grad():
        nn.init.zeros_(pool.q.weight)  # the query is 0, so all keys are alike
        nn.init.zeros_(pool.q.bias)
        nn.init.zeros_(pool.mlp.fc2.weight)
        tokens = run(blocks, blocks.embed(images_of((SIDE, SIDE))))
        found = blocks.in_text_space(tokens).mean(1)
        expected = pool(blocks.norm(tokens))
    assert (found - expected).abs().max() <= 1e-6


def test_tipsv2_is_read_after_its_final_norm(monkeypatch):
    body = text_body(monkeypatch, "tipsv2_b14", grid="native")
    blocks = body.as_blocks()
    with torch.no_grad():
        tokens = run(blocks, blocks.embed(images_of((SIDE, SIDE))))
        assert torch.equal(blocks.in_text_space(tokens), blocks.norm(tokens))


@pytest.mark.parametrize("name", WITH_TEXTS)
def test_maps_and_blocks_are_those_of_the_encoder_without_texts(monkeypatch, name):
    with_texts = text_body(monkeypatch, name)
    without = small_encoder(monkeypatch, name, neck="none").body
    state = with_texts.state_dict()
    without.load_state_dict({key: state[key] for key in without.state_dict()})
    extra = {key for key in state if key not in without.state_dict()}
    assert all(key.startswith(("reader.model.head.", "reader.model.attn_pool.")) for key in extra)
    with torch.no_grad():
        *_, one = with_texts(images_of((75, 101)))
        *_, other = without(images_of((75, 101)))
    assert torch.equal(one, other)
    assert with_texts.facts() == without.facts() | {"text_space": True}
    assert all(map(with_texts.reads, state))
    with pytest.raises(InputError, match="text=True"):
        without.as_blocks().in_text_space(without.as_blocks().embed(images_of((SIDE, SIDE))))


@pytest.mark.parametrize("name", [*NO_TEXTS, "dinov2_b14", "resnet50", "unet_tiny"])
def test_encoders_without_texts_are_refused(name):
    spec = EncoderSpec(name=name, weights="random", neck="none")
    with pytest.raises(InputError, match=f"{name} was not trained with texts.*clip_b16") as raised:
        build_encoder(spec, text=True)
    assert "\n" not in str(raised.value)


def transformers_clip():
    vision = VISION | {"hidden_act": "quick_gelu"}
    config = CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=512)
    model = CLIPModel(config).eval()
    randomise(model.vision_model)
    return model


def loaded(monkeypatch, name, tensors, path):
    """The body with the weights of a file, whatever it held before."""
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    body = text_body(monkeypatch, name)
    load_weights(body.model, path, readout=True)
    return body


def test_transformers_clip_is_loaded_with_its_projection(monkeypatch, tmp_path):
    model = transformers_clip()
    body = loaded(monkeypatch, "clip_b16", model.state_dict(), tmp_path / "a.safetensors")
    images = images_of((SIDE, SIDE))
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=images).pooler_output
    assert (read_out(body, images)[:, 0] - expected).abs().max() <= 1e-5


def test_transformers_siglip_is_loaded_with_its_pool(monkeypatch, tmp_path):
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)).eval()
    randomise(model.vision_model)
    body = loaded(monkeypatch, "siglip_b16", model.state_dict(), tmp_path / "a.safetensors")
    images = images_of((SIDE, SIDE))
    blocks = body.as_blocks()
    with torch.no_grad():
        pooled = model.get_image_features(pixel_values=images).pooler_output
        tokens = run(blocks, blocks.embed(images))
        assert (body.model.attn_pool(blocks.norm(tokens)) - pooled).abs().max() <= 1e-5


def as_openai(state):
    """timm's tensors under OpenAI's names, with a projection that multiplies from the right."""
    names = {
        "cls_token": "class_embedding",
        "pos_embed": "positional_embedding",
        "patch_embed.proj.weight": "conv1.weight",
    }
    parts = {
        "norm_pre": "ln_pre",
        "blocks": "transformer.resblocks",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "fc1": "c_fc",
        "fc2": "c_proj",
    }
    found = {}
    for name, value in state.items():
        own = names.get(name, name)
        for part, other in parts.items():
            own = own.replace(part, other)
        found["visual." + own.replace("norm.", "ln_post.")] = value
    found["visual.class_embedding"] = state["cls_token"].flatten()
    found["visual.positional_embedding"] = state["pos_embed"][0]
    del found["visual.head.bias"]
    found["visual.proj"] = found.pop("visual.head.weight").T
    return found


@pytest.mark.parametrize("layout", ["OpenAI", "timm"])
def test_files_in_other_layouts_hold_the_projection(monkeypatch, layout, tmp_path):
    source = text_body(monkeypatch, "clip_b16").model
    nn.init.zeros_(source.head.bias)
    tensors = source.state_dict()
    if layout == "OpenAI":
        tensors = as_openai(tensors) | {"logit_scale": torch.ones(())}
    body = loaded(monkeypatch, "clip_b16", tensors, tmp_path / "a.safetensors")
    assert all(torch.equal(body.model.state_dict()[k], v) for k, v in source.state_dict().items())


def test_files_with_timms_names_hold_the_pool(monkeypatch, tmp_path):
    source = text_body(monkeypatch, "siglip_b16").model
    tensors = {f"visual.trunk.{key}": value for key, value in source.state_dict().items()}
    body = loaded(monkeypatch, "siglip_b16", tensors, tmp_path / "a.safetensors")
    assert all(torch.equal(body.model.state_dict()[k], v) for k, v in source.state_dict().items())


@pytest.mark.parametrize("name", ["clip_b16", "siglip_b16"])
def test_a_vision_tower_alone_is_refused_where_texts_are_read(monkeypatch, name, tmp_path):
    tensors = small_encoder(monkeypatch, name, neck="none").body.model.state_dict()
    part = {"clip_b16": "head.weight", "siglip_b16": "attn_pool.latent"}[name]
    with pytest.raises(InputError, match=f"it lacks {part}"):
        loaded(monkeypatch, name, tensors, tmp_path / "a.safetensors")
