"""Parameter names of vision transformers in published files and in timm: one table per family.

A table lists every name that belongs to the body, and the beginnings of those that do not (text
towers, pooling and classifier heads, decoders). A name in neither is an error, and never silently
dropped.

timm's own filter converts whole OpenAI CLIP, DINOv2 and DINOv3 files, too. Their tables stay,
because it drops biases that are not zero where the model has none, and knows neither the vision
tower of CLIP alone nor MAE's decoder.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Layout:
    """Names of one family.

    Attributes:
        name: for messages.
        marks: a file has this layout if it has all of these names.
        roots: what may stand before every name of the vision tower.
        blocks: what stands before a block's number, one or several spellings.
        stem: timm's names of those outside the blocks; with or without ".weight" and ".bias".
        block: timm's names of those within a block. "qkv/0", "qkv/1", … are concatenated in this
            order.
        heads: beginnings of names within the vision tower that are no part of the body.
        beside: beginnings of names outside the tower that may be in the file.
        open: whether unlisted names are kept, because the file is in timm's layout already.
    """

    name: str
    marks: tuple[str, ...]
    roots: tuple[str, ...] = ("",)
    blocks: tuple[str, ...] = ("blocks",)
    stem: Mapping[str, str] = field(default_factory=dict)
    block: Mapping[str, str] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    open: bool = False

    def root_in(self, names: Mapping[str, object]) -> str | None:
        """Return the root under which the marks are found; None if this is another layout."""
        found = (root for root in self.roots if all(root + mark in names for mark in self.marks))
        return next(found, None)

    def drops(self, name: str, root: str) -> bool:
        """Return whether a name of the file is known to be no part of the body."""
        if name.startswith(root):
            return name.removeprefix(root).startswith(self.heads)
        return name.startswith(self.beside)

    def translate(self, name: str, root: str) -> str | None:
        """Return timm's name of a name in the file; None for an unknown one."""
        if not name.startswith(root):
            return None
        own = name.removeprefix(root)
        blocks = "|".join(map(re.escape, self.blocks))
        match = re.fullmatch(rf"(?:{blocks})\.(\d+)\.(.+)", own)
        if match:
            target = _look_up(match[2], self.block)
            target = target and f"blocks.{match[1]}.{target}"
        else:
            target = _look_up(own, self.stem)
        return own if target is None and self.open else target


def _look_up(name: str, table: Mapping[str, str]) -> str | None:
    """Return the entry of a parameter, or of its module with ".weight" or ".bias"."""
    if name in table:
        return table[name]
    module, _, leaf = name.rpartition(".")
    if leaf in ("weight", "bias") and module in table:
        return f"{table[module]}.{leaf}"
    return None


def _same(*names: str) -> dict[str, str]:
    """Return a table of names that are timm's own."""
    return {name: name for name in names}


_TIMM_STEM = _same("cls_token", "pos_embed", "patch_embed.proj", "norm")
_TIMM_BLOCK = _same(
    "norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "ls1.gamma", "ls2.gamma"
)
_SPLIT_QKV = {"q_proj": "attn.qkv/0", "k_proj": "attn.qkv/1", "v_proj": "attn.qkv/2"}
_MLP = _same("mlp.fc1", "mlp.fc2")

TIMM = Layout(
    "timm",
    marks=("patch_embed.proj.weight",),
    roots=("", "visual.trunk."),  # the second: OpenCLIP models around a timm body
    heads=("head.", "head_dist.", "attn_pool."),
    beside=("text.", "visual.head.", "logit_scale", "logit_bias"),
    open=True,
)
NAFLEX = replace(TIMM, marks=("embeds.proj.weight",))
SAM = replace(
    TIMM,
    name="facebookresearch/segment-anything",
    marks=("neck.0.weight",),
    roots=("image_encoder.",),
    block={"mlp.lin1": "mlp.fc1", "mlp.lin2": "mlp.fc2"},
    beside=("prompt_encoder.", "mask_decoder."),
)

MAE = Layout(
    "facebookresearch/mae with decoder",
    marks=("patch_embed.proj.weight", "decoder_embed.weight"),
    stem=_TIMM_STEM,
    block=_TIMM_BLOCK,
    heads=("decoder_", "mask_token"),
)

DINOV2 = Layout(
    "facebookresearch/dinov2",
    marks=("mask_token", "patch_embed.proj.weight", "blocks.0.ls1.gamma", "pos_embed"),
    stem=_TIMM_STEM | {"register_tokens": "reg_token"},
    block=_TIMM_BLOCK | {"mlp.w12": "mlp.fc1", "mlp.w3": "mlp.fc2"},
    heads=("mask_token",),
)

DINOV3 = Layout(
    "facebookresearch/dinov3",
    marks=("storage_tokens", "patch_embed.proj.weight"),
    stem=_same("cls_token", "patch_embed.proj", "norm") | {"storage_tokens": "reg_token"},
    block=_same("norm1", "norm2", "attn.qkv.weight", "attn.proj")
    | {"attn.qkv.bias": "attn.qkv_bias", "ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
    | {
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
        "mlp.w1": "mlp.fc1_g",
        "mlp.w2": "mlp.fc1_x",
        "mlp.w3": "mlp.fc2",
    }
    | {"attn.qkv.bias_mask": "attn.qkv_bias_mask"},
    heads=("mask_token", "rope_embed.", "local_cls_norm."),
)

OPENAI_CLIP = Layout(
    "OpenAI CLIP",
    marks=("class_embedding", "ln_pre.weight"),
    roots=("visual.", ""),
    blocks=("transformer.resblocks",),
    stem={
        "class_embedding": "cls_token",
        "positional_embedding": "pos_embed",
        "conv1": "patch_embed.proj",
        "ln_pre": "norm_pre",
        "ln_post": "norm",
    },
    block={
        "ln_1": "norm1",
        "ln_2": "norm2",
        "attn.in_proj_weight": "attn.qkv.weight",
        "attn.in_proj_bias": "attn.qkv.bias",
        "attn.out_proj": "attn.proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    },
    heads=("proj",),
    beside=(
        "transformer.",
        "token_embedding.",
        "positional_embedding",
        "ln_final.",
        "text_projection",
        "logit_scale",
        "input_resolution",
        "context_length",
        "vocab_size",
    ),
)

_TRANSFORMERS_CLIP_STEM = {
    "embeddings.position_embedding.weight": "pos_embed",
    "embeddings.patch_embedding": "patch_embed.proj",
    "post_layernorm": "norm",
}
_TRANSFORMERS_CLIP_BLOCK = (
    {f"self_attn.{name}": target for name, target in _SPLIT_QKV.items()}
    | {"self_attn.out_proj": "attn.proj", "layer_norm1": "norm1", "layer_norm2": "norm2"}
    | _MLP
)

TRANSFORMERS_CLIP = Layout(
    "transformers CLIP",
    marks=("embeddings.class_embedding", "pre_layrnorm.weight"),  # the misspelling is the library's
    roots=("vision_model.", ""),
    blocks=("encoder.layers",),
    stem=_TRANSFORMERS_CLIP_STEM
    | {"embeddings.class_embedding": "cls_token", "pre_layrnorm": "norm_pre"},
    block=_TRANSFORMERS_CLIP_BLOCK,
    heads=("embeddings.position_ids",),
    beside=("text_model.", "visual_projection.", "text_projection.", "logit_scale", "classifier."),
)

TRANSFORMERS_SIGLIP = Layout(
    "transformers SigLIP",
    marks=("embeddings.patch_embedding.bias", "post_layernorm.weight"),
    roots=("vision_model.", ""),
    blocks=("encoder.layers",),
    stem=_TRANSFORMERS_CLIP_STEM,
    block=_TRANSFORMERS_CLIP_BLOCK,
    heads=("embeddings.position_ids", "head."),
    beside=("text_model.", "logit_scale", "logit_bias", "classifier."),
)

_TRANSFORMERS_VIT_STEM = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
_TRANSFORMERS_VIT_ATTENTION = {
    f"attention.{name}": target for name, target in _SPLIT_QKV.items()
} | {
    "attention.o_proj": "attn.proj",
    "attention.attention.query": "attn.qkv/0",
    "attention.attention.key": "attn.qkv/1",
    "attention.attention.value": "attn.qkv/2",
    "attention.output.dense": "attn.proj",
}

TRANSFORMERS_DINOV2 = Layout(
    "transformers DINOv2",
    marks=("embeddings.position_embeddings", "encoder.layer.0.layer_scale1.lambda1"),
    roots=("", "dinov2.", "dinov2_with_registers."),
    blocks=("encoder.layer",),
    stem=_TRANSFORMERS_VIT_STEM | {"embeddings.register_tokens": "reg_token"},
    block=_TRANSFORMERS_VIT_ATTENTION
    | _MLP
    | {
        "norm1": "norm1",
        "norm2": "norm2",
        "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma",
    }
    | {"mlp.weights_in": "mlp.fc1", "mlp.weights_out": "mlp.fc2"}
    | {"mlp.gate_proj": "mlp.fc1/0", "mlp.up_proj": "mlp.fc1/1", "mlp.down_proj": "mlp.fc2"},
    heads=("embeddings.mask_token",),
    beside=("classifier.",),
)

TRANSFORMERS_VIT = Layout(
    "transformers ViT or MAE",
    marks=("embeddings.position_embeddings", "embeddings.patch_embeddings.projection.weight"),
    roots=("", "vit."),
    blocks=("encoder.layer", "layers"),
    stem=_TRANSFORMERS_VIT_STEM,
    block=_TRANSFORMERS_VIT_ATTENTION
    | _MLP
    | {"layernorm_before": "norm1", "layernorm_after": "norm2"}
    | {"intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"},
    heads=("embeddings.mask_token", "pooler."),
    beside=("decoder.", "classifier."),
)

TRANSFORMERS_DINOV3 = Layout(
    "transformers DINOv3",
    marks=("embeddings.register_tokens", "embeddings.patch_embeddings.weight"),
    blocks=("layer", "model.layer"),
    stem={
        "embeddings.cls_token": "cls_token",
        "embeddings.register_tokens": "reg_token",
        "embeddings.patch_embeddings": "patch_embed.proj",
        "norm": "norm",
    },
    block={f"attention.{name}.weight": f"{target}.weight" for name, target in _SPLIT_QKV.items()}
    | {
        "attention.q_proj.bias": "attn.q_bias",
        "attention.v_proj.bias": "attn.v_bias",
        "attention.o_proj": "attn.proj",
    }
    | {
        "norm1": "norm1",
        "norm2": "norm2",
        "layer_scale1.lambda1": "gamma_1",
        "layer_scale2.lambda1": "gamma_2",
    }
    | {"mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2", "mlp.gate_proj": "mlp.fc1_g"},
    heads=("embeddings.mask_token",),
)

LAYOUTS = (
    *(MAE, DINOV2, DINOV3, SAM, TIMM, NAFLEX, OPENAI_CLIP, TRANSFORMERS_CLIP),
    *(TRANSFORMERS_SIGLIP, TRANSFORMERS_DINOV2, TRANSFORMERS_VIT, TRANSFORMERS_DINOV3),
)
"""All layouts in the order in which they are tried, the special before the general."""
