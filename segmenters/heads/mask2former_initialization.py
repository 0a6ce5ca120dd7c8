"""The official Mask2Former's initial weights, for transformers' modules (whose own defaults train more slowly).

File names are those of https://github.com/facebookresearch/Mask2Former, below ``mask2former/modeling``. Every parameter
is set here, since transformers' modules leave some as uninitialised memory when they are built on their own. All
numbers are drawn from PyTorch's global generator.
"""

import math
from typing import Any

import torch
from torch import nn


@torch.no_grad()
def initialize(head: Any) -> None:
    """Sets all parameters of a ``Mask2FormerHead``."""
    _pixel_decoder(head.pixel_decoder)
    _transformer_module(head.transformer_module)
    _default(head.class_predictor)


def _pixel_decoder(decoder: Any) -> None:
    """``pixel_decoder/msdeformattn.py``."""
    for projection in decoder.input_projections:
        _xavier(projection[0])
        _ones(projection[1])
    for layer in decoder.encoder.layers:
        _deformable_attention(layer.self_attn)
        for linear in (layer.fc1, layer.fc2):
            _default(linear)
            nn.init.xavier_uniform_(linear.weight)
        _ones(layer.self_attn_layer_norm, layer.final_layer_norm)
    first, *others = decoder.encoder.layers
    for layer in (
        others
    ):  # the official layers are deep copies of one, of which only the matrices are drawn anew
        layer.fc1.bias.copy_(first.fc1.bias)
        layer.fc2.bias.copy_(first.fc2.bias)
    nn.init.normal_(decoder.level_embed)
    for lateral, output in zip(
        decoder.lateral_convolutions, decoder.output_convolutions, strict=True
    ):
        _c2_xavier(lateral[0])
        _c2_xavier(output[0])
        _ones(lateral[1], output[1])
    _c2_xavier(decoder.mask_projection)


def _deformable_attention(attention: Any) -> None:
    """``pixel_decoder/ops/modules/ms_deform_attn.py``: each head looks in a direction of its own, ever farther."""
    heads = attention.heads
    angles = torch.arange(heads, dtype=torch.float32) * (2 * math.pi / heads)
    directions = torch.stack([angles.cos(), angles.sin()], -1)
    directions = directions / directions.abs().max(-1, keepdim=True).values
    per_head = attention.sampling_offsets.bias.view(heads, -1, 4, 2)
    per_head.copy_(directions[:, None, None] * torch.arange(1, 5)[:, None])
    nn.init.zeros_(attention.sampling_offsets.weight)
    nn.init.zeros_(attention.attention_weights.weight)
    nn.init.zeros_(attention.attention_weights.bias)
    _xavier(attention.value_proj)
    _xavier(attention.output_proj)


def _transformer_module(module: Any) -> None:
    """``transformer_decoder/mask2former_transformer_decoder.py``."""
    for embedding in (module.queries_features, module.queries_embedder, module.level_embed):
        nn.init.normal_(embedding.weight)
    for layer in module.decoder.layers:
        nn.init.xavier_uniform_(layer.cross_attn.in_proj_weight)
        nn.init.zeros_(layer.cross_attn.in_proj_bias)
        _xavier(layer.cross_attn.out_proj)
        _split_projection(layer.self_attn)
        _xavier(layer.self_attn.out_proj)
        for linear in (layer.fc1, layer.fc2):
            _default(linear)
            nn.init.xavier_uniform_(linear.weight)
        _ones(layer.self_attn_layer_norm, layer.cross_attn_layer_norm, layer.final_layer_norm)
    _ones(module.decoder.layernorm)
    for block in module.decoder.mask_predictor.mask_embedder.children():
        for linear in block.children():
            if isinstance(linear, nn.Linear):
                _default(linear)


def _split_projection(attention: Any) -> None:
    """Query, key and value matrices as three parts of one, whose fan-out is three times theirs (MultiheadAttention)."""
    parts = (attention.q_proj, attention.k_proj, attention.v_proj)
    joint = torch.empty(sum(part.out_features for part in parts), parts[0].in_features)
    nn.init.xavier_uniform_(joint)
    for part, weight in zip(parts, joint.chunk(3), strict=True):
        part.weight.copy_(weight)
        nn.init.zeros_(part.bias)


def _xavier(layer: Any) -> None:
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


def _c2_xavier(convolution: nn.Conv2d) -> None:
    """fvcore's ``c2_xavier_fill``: uniform in ±√(3 / fan-in)."""
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


def _default(linear: nn.Linear) -> None:
    """PyTorch's own: weight and bias uniform in ±1 / √fan-in."""
    linear.reset_parameters()


def _ones(*norms: Any) -> None:
    for norm in norms:
        norm.reset_parameters()
