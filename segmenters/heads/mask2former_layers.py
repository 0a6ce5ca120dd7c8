"""Layers of Mask2Former's pixel decoder, in the place of those that transformers ships."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from encoder_ablations.segmenters.ops.deformable_attention import (
    deformable_attention,
    deformable_attention_path,
)
from encoder_ablations.segmenters.ops.transfers import sent

LEVELS = 3
"""Levels that the deformable attention reads; fixed in both implementations."""
POINTS = 4
"""Points per level and head; fixed in both implementations."""


class DeformableAttention(nn.Module):
    """Multi-scale deformable self-attention (Zhu et al., ICLR 2021).

    Parameter names are those of transformers.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.paths: set[str] = set()
        """What has computed it so far."""
        self.sampling_offsets = nn.Linear(hidden, heads * LEVELS * POINTS * 2)
        self.attention_weights = nn.Linear(hidden, heads * LEVELS * POINTS)
        self.value_proj = nn.Linear(hidden, hidden)
        self.output_proj = nn.Linear(hidden, hidden)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        position_embeddings: Tensor,
        reference_points: Tensor,
        spatial_shapes_list: Sequence[tuple[int, int]],
        **unused: Any,
    ) -> tuple[Tensor, None]:
        """Return B×S×C, and None in place of the attention weights, which nobody reads.

        transformers' encoder layer calls it, with all levels flattened to S tokens.

        Args:
            hidden_states: B×S×C, from which offsets and weights are made.
            encoder_hidden_states: B×S×C, from which the values are made.
            position_embeddings: B×S×C.
            reference_points: B×S×levels×2, (x, y) of each token in 0..1.
            spatial_shapes_list: (h, w) of each level.
            unused: other arguments of transformers' layer.
        """
        batch, tokens, _ = hidden_states.shape
        with torch.autocast(hidden_states.device.type, enabled=False):
            queries = (hidden_states + position_embeddings).float()
            sites = (batch, tokens, self.heads, LEVELS, POINTS)
            # Δp and A of eq. 3: offsets in cells of a level; weights that sum to 1 over points
            offsets = self.sampling_offsets(queries).view(*sites, 2)
            logits = self.attention_weights(queries).view(*sites[:3], LEVELS * POINTS)
            weights = logits.softmax(-1).view(sites)
            sizes = _sizes(spatial_shapes_list, offsets)
            locations = reference_points[:, :, None, :, None] + offsets / sizes[:, None]
        values = self.value_proj(encoder_hidden_states).view(*sites[:3], -1)
        read = deformable_attention(values.float(), spatial_shapes_list, locations, weights)
        self.paths.add(
            deformable_attention_path(values.device, torch.float32, locations.dtype, weights.dtype)
        )
        return self.output_proj(read), None


class EncoderLayer(nn.Module):
    """A layer of the pixel decoder: deformable attention, then two linear layers.

    It computes what transformers' layer computes, with its parameters under their names. That one
    also asks in training whether all values are finite, for which a GPU has to be waited for. The
    loss is checked once a step in its place.

    Args:
        layer: the layer of transformers.
        attention: takes the place of its attention.
    """

    def __init__(self, layer: Any, attention: DeformableAttention) -> None:
        super().__init__()
        self.self_attn = attention
        self.self_attn_layer_norm = layer.self_attn_layer_norm
        self.activation_fn = layer.activation_fn
        self.fc1 = layer.fc1
        self.fc2 = layer.fc2
        self.final_layer_norm = layer.final_layer_norm

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, **given: Any) -> list[Tensor]:
        """Return the layer's output B×S×C, as the first of a list.

        Args:
            hidden_states: B×S×C.
            attention_mask: not read: no token is padding.
            given: what :meth:`DeformableAttention.forward` takes besides.
        """
        read, _ = self.self_attn(
            hidden_states=hidden_states, encoder_hidden_states=hidden_states, **given
        )
        hidden_states = self.self_attn_layer_norm(hidden_states + read)
        widened = self.activation_fn(self.fc1(hidden_states))
        return [self.final_layer_norm(hidden_states + self.fc2(widened))]


def _sizes(shapes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Return (width, height) of each level, of the type and on the device of a tensor: L×2."""
    sizes = [(width, height) for height, width in shapes]
    # a program that is being traced holds them as a constant
    if torch.compiler.is_compiling():
        return like.new_tensor(sizes)
    return sent(torch.tensor(sizes, dtype=like.dtype), like.device)
