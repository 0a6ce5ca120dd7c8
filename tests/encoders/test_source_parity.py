"""A small model of each family with random weights: transformers' outputs, and timm's with the
same weights loaded."""

import copy
from dataclasses import dataclass

import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from encoder_ablations.encoders.weights.loading import load_weights
from encoder_ablations.utils.seeding import torch_stream

SIZE = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
TINY = {"embed_dim": 64, "depth": 4, "num_heads": 4}
TOLERANCE = 1e-5
INTERPOLATES_WHEN_ASKED = (
    transformers.CLIPVisionModel,
    transformers.SiglipVisionModel,
    transformers.ViTMAEModel,
)


@dataclass(frozen=True)
class Family:
    """The same small network in both libraries.

    Attributes:
        options: what the entry in the encoder table needs, beside timm's defaults, to be the
            source's network.
        image: side for which the position embeddings are made.
        same_rule: whether transformers resizes position embeddings as timm does.
    """

    model: type[transformers.PreTrainedModel]
    config: transformers.PreTrainedConfig
    timm_name: str
    image: int
    patch: int
    prefix: int
    options: tuple[tuple[str, object], ...] = ()
    same_rule: bool = False


def _mae_norm(width, **_):
    """transformers' epsilon; facebookresearch/mae and timm have 1e-6."""
    return nn.LayerNorm(width, eps=1e-12)


FAMILIES = {
    "clip": Family(
        transformers.CLIPVisionModel,
        transformers.CLIPVisionConfig(**SIZE, intermediate_size=256, image_size=64, patch_size=16),
        "vit_base_patch16_clip_quickgelu_224.openai",
        image=64,
        patch=16,
        prefix=1,
    ),
    "dinov2": Family(
        transformers.Dinov2Model,
        transformers.Dinov2Config(**SIZE, image_size=56, patch_size=14),
        "vit_base_patch14_dinov2.lvd142m",
        image=56,
        patch=14,
        prefix=1,
    ),
    "dinov2_registers": Family(
        transformers.Dinov2WithRegistersModel,
        transformers.Dinov2WithRegistersConfig(**SIZE, image_size=56, patch_size=14),
        "vit_base_patch14_reg4_dinov2.lvd142m",
        image=56,
        patch=14,
        prefix=5,
        same_rule=True,
    ),
    "dinov3": Family(
        transformers.DINOv3ViTModel,
        transformers.DINOv3ViTConfig(**SIZE, intermediate_size=256, num_register_tokens=4),
        "vit_base_patch16_dinov3_qkvb.lvd1689m",
        image=64,
        patch=16,
        prefix=5,
        same_rule=True,
    ),
    "dinov2_gated": Family(
        transformers.Dinov2Model,
        transformers.Dinov2Config(**SIZE, image_size=56, patch_size=14, use_swiglu_ffn=True),
        "vit_giant_patch14_dinov2.lvd142m",
        image=56,
        patch=14,
        prefix=1,
        options=(("mlp_ratio", 5.5),),
    ),
    "dinov3_gated": Family(
        transformers.DINOv3ViTModel,
        transformers.DINOv3ViTConfig(
            **SIZE,
            intermediate_size=256,
            num_register_tokens=4,
            use_gated_mlp=True,
            hidden_act="silu",
        ),
        "vit_small_plus_patch16_dinov3_qkvb.lvd1689m",
        image=64,
        patch=16,
        prefix=5,
        same_rule=True,
    ),
    "siglip": Family(
        transformers.SiglipVisionModel,
        transformers.SiglipVisionConfig(
            **SIZE, intermediate_size=256, image_size=64, patch_size=16
        ),
        "vit_base_patch16_siglip_224.webli",
        image=64,
        patch=16,
        prefix=0,
        options=(("act_layer", "gelu_tanh"),),
    ),
    "mae": Family(
        transformers.ViTMAEModel,
        transformers.ViTMAEConfig(
            **SIZE, intermediate_size=256, image_size=64, patch_size=16, mask_ratio=0.0
        ),
        "vit_base_patch16_224.mae",
        image=64,
        patch=16,
        prefix=1,
        options=(("norm_layer", _mae_norm),),
    ),
}


def _randomise(model):
    """Weights at which every part of the network matters, unlike at the libraries' initial ones.

    Larger ones make activations of 20 and more, where float32 rounding alone reaches 1e-5 (in
    float64 the same models agree to 1e-14 at their native size).
    """
    with torch_stream(0, "test", "weights"), torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "token" not in name and "position" not in name:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            elif "norm" in name and name.endswith("weight"):
                parameter.normal_(mean=1, std=0.2)
            else:
                parameter.normal_(std=0.5)


@pytest.fixture(scope="module")
def sources():
    """Family -> transformers' model with random weights."""
    built = {}
    for name, family in FAMILIES.items():
        model = family.model(family.config).eval()
        _randomise(model)
        built[name] = model
    return built


def _timm_model(family, **options):
    options = {**dict(family.options), **TINY, "img_size": family.image, **options}
    return timm.create_model(
        family.timm_name,
        num_classes=0,
        global_pool="",
        dynamic_img_size=True,
        dynamic_img_pad=True,
        **options,
    ).eval()


def _loaded(family, source, tmp_path, **options):
    save_file(
        {name: value.contiguous() for name, value in source.state_dict().items()},
        tmp_path / "m.safetensors",
    )
    model = _timm_model(family, **options)
    load_weights(model, tmp_path / "m.safetensors")
    return model


def _images(height, width):
    with torch_stream(0, "test", "images"):
        return torch.randn(2, 3, height, width)


@torch.no_grad()
def _source_states(source, images):
    """All tokens after each block, and transformers' own final norm of the last."""
    options = {}
    if isinstance(
        source, transformers.ViTMAEModel
    ):  # its "masking" keeps every token, in order of the noise
        count = images.shape[-2] // 16 * (images.shape[-1] // 16)
        options["noise"] = torch.arange(count, dtype=torch.float32).expand(len(images), -1)
    if isinstance(source, INTERPOLATES_WHEN_ASKED):
        options["interpolate_pos_encoding"] = True
    states = source(images, output_hidden_states=True, **options).hidden_states[1:]
    norms = [
        getattr(source, name)
        for name in ("layernorm", "post_layernorm", "norm")
        if hasattr(source, name)
    ]
    return [*states, norms[0](states[-1])]


@torch.no_grad()
def _timm_states(model, images):
    def tokens(norm, indices):
        taps = model.forward_intermediates(
            images,
            indices=indices,
            return_prefix_tokens=True,
            norm=norm,
            output_fmt="NLC",
            intermediates_only=True,
        )
        return [
            torch.cat([tap[1], tap[0]], dim=1) if isinstance(tap, tuple) else tap for tap in taps
        ]

    return [*tokens(False, [0, 1, 2, 3]), *tokens(True, [3])]


def _difference(first, second):
    assert [state.shape for state in first] == [state.shape for state in second]
    return max((a - b).abs().max().item() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_taps_equal_at_the_native_size(name, sources, tmp_path):
    family = FAMILIES[name]
    images = _images(family.image, family.image)
    expected = _source_states(sources[name], images)
    assert expected[0].shape[1] == family.prefix + 16
    assert expected[0].std() > 0.3
    assert (
        _difference(expected, _timm_states(_loaded(family, sources[name], tmp_path), images))
        <= TOLERANCE
    )


@pytest.mark.parametrize(("rows", "columns"), [(5, 7), (7, 3)])
@pytest.mark.parametrize("name", FAMILIES)
def test_taps_equal_at_other_sizes(name, rows, columns, sources, tmp_path):
    """Where transformers resizes position embeddings by another rule than timm, they are made
    equal everywhere."""
    family, source = FAMILIES[name], sources[name]
    if not family.same_rule:
        source = copy.deepcopy(source)
        with torch.no_grad():
            for parameter_name, parameter in source.named_parameters():
                if "position_embedding" in parameter_name:
                    positions = parameter.view(-1, 64)
                    positions[-16:] = positions[-1].clone()
    images = _images(rows * family.patch, columns * family.patch)
    expected = _source_states(source, images)
    assert expected[0].shape[1] == family.prefix + rows * columns
    assert (
        _difference(expected, _timm_states(_loaded(family, source, tmp_path), images)) <= TOLERANCE
    )


@pytest.mark.parametrize(
    ("name", "options", "least"),
    [
        ("clip", {"act_layer": "gelu"}, 1e-2),
        ("siglip", {"act_layer": "gelu"}, 5e-4),
        ("dinov2", {"act_layer": "quick_gelu"}, 1e-2),
        ("mae", {"norm_layer": lambda width, **_: nn.LayerNorm(width, eps=1e-2)}, 1e-2),
    ],
)
def test_a_slightly_different_network_is_noticed(name, options, least, sources, tmp_path):
    """The weights fit all of these, so that only the outputs can tell."""
    images = _images(FAMILIES[name].image, FAMILIES[name].image)
    wrong = _loaded(FAMILIES[name], sources[name], tmp_path, **options)
    assert _difference(_source_states(sources[name], images), _timm_states(wrong, images)) > least


def test_the_pre_norm_of_clip_matters(sources, tmp_path):
    images = _images(64, 64)
    model = _loaded(FAMILIES["clip"], sources["clip"], tmp_path)
    model.norm_pre = nn.Identity()
    assert _difference(_source_states(sources["clip"], images), _timm_states(model, images)) > 1e-1


def test_siglip_has_no_prefix_token_to_remove(sources, tmp_path):
    images = _images(64, 96)
    model = _loaded(FAMILIES["siglip"], sources["siglip"], tmp_path)
    assert model.num_prefix_tokens == 0
    tokens = _timm_states(model, images)[3]
    maps = model.forward_intermediates(images, indices=[3], intermediates_only=True)[0]
    assert maps.shape == (2, 64, 4, 6)
    assert torch.equal(maps.flatten(2).transpose(1, 2), tokens)
    assert (maps.flatten(2).transpose(1, 2)[:, :-1] - tokens[:, 1:]).abs().max() > 1e-1


@pytest.mark.parametrize("name", ["dinov2_registers", "dinov3"])
def test_registers_are_all_prefix(name, sources, tmp_path):
    """Taps hold the patches and neither the class token nor a register, also on an image that is
    not square."""
    family = FAMILIES[name]
    model = _loaded(family, sources[name], tmp_path)
    images = _images(family.patch * 3, family.patch * 6)
    maps = model.forward_intermediates(images, indices=[3], intermediates_only=True)[0]
    patches = _source_states(sources[name], images)[3][:, 5:]
    assert (maps - patches.transpose(1, 2).reshape(2, 64, 3, 6)).abs().max() <= TOLERANCE
