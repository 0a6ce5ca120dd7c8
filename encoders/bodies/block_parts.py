"""The parts of a block of timm: attention with weights from elsewhere, then the MLP."""

from typing import Any

import torch
from timm.layers.attention import Attention, AttentionRope
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.eva import EvaAttention, EvaBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.blocks import AttentionInput, AttentionWeights, Tokens
from encoder_ablations.utils.errors import InputError

BLOCKS = (Block, EvaBlock)
"""Blocks that normalise first: ``x + attention(norm1(x))``, then ``x + mlp(norm2(x))``."""
ATTENTIONS = (Attention, AttentionRope, EvaAttention)
"""Attention of queries, keys and values of one input, with one set of weights for each head."""


def refuse_other_blocks(model: Any) -> None:
    """Check that all blocks of a timm model can be taken apart.

    Raises:
        InputError: the class of a block, or of its attention, is another one.
    """
    for block in model.blocks:
        # classes derived from these may compute something else
        for part, known in ((block, BLOCKS), (getattr(block, "attn", block), ATTENTIONS)):
            if type(part) not in known:
                raise InputError(
                    "the head replaces the attention of the encoder's blocks, but timm's "
                    f"{type(part).__name__} cannot be taken apart. Use a plain vision transformer "
                    "such as CLIP, SigLIP, TIPSv2, DINOv2, DINOv3 or MAE."
                )


def after_attention(
    block: Any,
    tokens: Tokens,
    rotary: Tensor | None,
    weights: AttentionWeights,
    residual: bool,
    values: Tensor,
) -> Tensor:
    """Return the values B×T×C after the first half of a block.

    Args:
        block: one of ``BLOCKS``.
        tokens: before the block; handed on to ``weights``.
        rotary: sines and cosines for this block, or None.
        weights: replaces the attention's own weights.
        residual: whether the values are added to what the attention gives.
        values: B×T×C, of ``tokens``.
    """
    attended = _attended(block.attn, block.norm1(values), tokens, rotary, weights)
    attended = block.drop_path1(_scaled(block, 1, attended))
    after: Tensor = attended
    if residual:
        after = values + attended
    return after


def after_feedforward(block: Any, values: Tensor) -> Tensor:
    """Return the values B×T×C after the second half of a block, its MLP with its residual."""
    change = _scaled(block, 2, block.mlp(block.norm2(values)))
    total: Tensor = values + block.drop_path2(change)
    return total


def _attended(
    attention: Any,
    values: Tensor,
    tokens: Tokens,
    rotary: Tensor | None,
    weights: AttentionWeights,
) -> Tensor:
    """Return what the attention makes of normalised values B×T×C."""
    given = _attention_input(attention, values, tokens, rotary)
    mixed = attention.attn_drop(weights(given)) @ given.values
    # B×h×T×D to B×T×hD
    joined = attention.norm(mixed.transpose(1, 2).flatten(2))
    gate = getattr(attention, "gate", None)
    if gate is not None:
        joined = joined * gate(values).sigmoid()
    projected: Tensor = attention.proj_drop(attention.proj(joined))
    return projected


def _attention_input(
    attention: Any, values: Tensor, tokens: Tokens, rotary: Tensor | None
) -> AttentionInput:
    """Return queries, keys and values of all heads, in the order of timm's own steps."""
    queries, keys, contents = _projections(attention, values)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    if rotary is not None:
        queries = _rotated(attention, queries, rotary).type_as(contents)
        keys = _rotated(attention, keys, rotary).type_as(contents)
    groups = getattr(attention, "num_kv_groups", 1)
    if groups > 1:  # several heads share their keys and values
        keys = keys.repeat_interleave(groups, dim=1)
        contents = contents.repeat_interleave(groups, dim=1)
    return AttentionInput(queries, keys, contents, attention.scale, tokens)


def _projections(attention: Any, values: Tensor) -> list[Tensor]:
    """Return queries, keys and values B×h×T×D of B×T×C."""
    if attention.qkv is None:
        parts = [attention.q_proj(values), attention.k_proj(values), attention.v_proj(values)]
    else:
        parts = list(_joint_projection(attention, values).chunk(3, dim=-1))
    return [part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for part in parts]


def _joint_projection(attention: Any, values: Tensor) -> Tensor:
    """Return B×T×3hD; EVA's attention keeps its biases beside the layer."""
    if getattr(attention, "q_bias", None) is None:
        joint: Tensor = attention.qkv(values)
        return joint
    bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
    return F.linear(values, attention.qkv.weight, bias)


def _rotated(attention: Any, values: Tensor, rotary: Tensor) -> Tensor:
    """Return B×h×T×D with all tokens but the prefix turned by the rotary embedding."""
    prefix = attention.num_prefix_tokens
    half = getattr(attention, "rotate_half", False)
    turned = apply_rot_embed_cat(values[:, :, prefix:], rotary, half=half)
    return torch.cat([values[:, :, :prefix], turned], dim=2)


def _scaled(block: nn.Module, half: int, values: Tensor) -> Tensor:
    """Return values after the LayerScale of the first or second half of a block, if it has one."""
    if isinstance(block, EvaBlock):
        factors = getattr(block, f"gamma_{half}")
        return values if factors is None else factors * values
    scaled: Tensor = getattr(block, f"ls{half}")(values)
    return scaled
