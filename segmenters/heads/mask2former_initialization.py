"""The official Mask2Former's initial weights, for transformers' modules.

transformers' own defaults train more slowly. File names are those of
https://github.com/facebookresearch/Mask2Former, below ``mask2former/modeling``. Every parameter is
set here, since transformers' modules leave some as uninitialised memory when they are built on
their own. All numbers are drawn from PyTorch's global generator.
"""

import math
from typing import Any

import torch
from torch import nn


@torch.no_grad()
def initialize(head: Any) -> None:
    """Set all parameters of a ``Mask2FormerHead``."""
    _pixel_decoder(head.pixel_decoder)
    _transformer_module(head.transformer_module)
    _default(head.class_predictor)


def _pixel_decoder(decoder: Any) -> None:
    """Initialise as ``pixel_decoder/msdeformattn.py`` does."""
    for projection in decoder.input_projections:
        _xavier(projection[0])
        _ones(projection[1])
    for layer in decoder.encoder.layers:
        _deformable_attention(layer.self_attn)
        for linear in (layer.fc1, layer.fc2):
            _default(linear)
            nn.init.xavier_uniform_(linear.weight)
        _ones(layer.self_attn_layer_norm, layer.final_layer_norm)
    # the official layers are deep copies of one, and only their matrices are drawn anew
    first, *others = decoder.encoder.layers
    for layer in others:
        layer.fc1.bias.copy_(first.fc1.bias)
        layer.fc2.bias.copy_(first.fc2.bias)
    nn.init.normal_(decoder.level_embed)
    # the FPN from the finest level
    pairs = zip(decoder.lateral_convolutions, decoder.output_convolutions, strict=True)
    for lateral, output in pairs:
        _c2_xavier(lateral[0])
        _c2_xavier(output[0])
        _ones(lateral[1], output[1])
    _c2_xavier(decoder.mask_projection)


def _deformable_attention(attention: Any) -> None:
    """Initialise as ``pixel_decoder/ops/modules/ms_deform_attn.py`` does.

    The points of each head lie in a direction of its own, 1, 2, 3 and 4 cells away.
    """
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
    """Initialise as ``transformer_decoder/mask2former_transformer_decoder.py`` does."""
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
    for part in module.decoder.mask_predictor.mask_embedder.modules():
        if isinstance(part, nn.Linear):
            _default(part)


def _split_projection(attention: Any) -> None:
    """Draw query, key and value matrices as the three parts of one, as ``MultiheadAttention`` does.

    The joint matrix has three times the fan-out, so its numbers are smaller.
    """
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
    """Initialise as fvcore's ``c2_xavier_fill``: uniform in ±√(3 / fan-in)."""
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


def _default(linear: nn.Linear) -> None:
    """Initialise as PyTorch: weight and bias uniform in ±1 / √fan-in."""
    linear.reset_parameters()


def _ones(*norms: Any) -> None:
    for norm in norms:
        norm.reset_parameters()
