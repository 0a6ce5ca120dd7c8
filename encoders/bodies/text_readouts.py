"""The way from the last block of a vision transformer to the space of text features."""

from typing import Any

from timm.layers.attention_pool import AttentionPoolLatent
from torch import Tensor


def read_out(model: Any, values: Tensor) -> Tensor:
    """Return B×T×D in text space; each token is read by itself.

    CLIP projects. In SigLIP a token takes the way that it would take through the attention pool
    with all of the pool's attention: values, output projection, MLP. TIPSv2 has nothing there.

    Args:
        model: of timm, made with its read-out.
        values: B×T×C after the final norm.
    """
    if model.attn_pool is not None:
        values = _value_path(model.attn_pool, values)
    projected: Tensor = model.head(model.fc_norm(values))
    return projected


def text_width_of(model: Any) -> int:
    """Return how many numbers :func:`read_out` gives for a token, D.

    Args:
        model: of timm, made with its read-out.
    """
    return int(getattr(model.head, "out_features", model.num_features))


def _value_path(pool: AttentionPoolLatent, values: Tensor) -> Tensor:
    """Return what the pool would give for each token alone, whose attention weight is 1."""
    _, contents = pool.kv(values).chunk(2, dim=-1)
    projected: Tensor = pool.proj_drop(pool.proj(contents))
    if pool.mlp is not None:
        projected = projected + pool.mlp(pool.norm(projected))
    return projected
