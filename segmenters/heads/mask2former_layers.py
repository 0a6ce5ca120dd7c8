"""Layers of Mask2Former's two decoders, in the place of those that transformers ships."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
            offsets = self.sampling_offsets(queries).unflatten(-1, (self.heads, -1))
            sizes = _sizes(spatial_shapes_list, offsets)
            locations = _locations(reference_points, offsets, sizes).view(*sites, 2)
            logits = self.attention_weights(queries).view(-1, LEVELS * POINTS)
            # PyTorch's softmax on a CPU is several times slower over a short last axis
            weights = logits.t().contiguous().softmax(0).t().reshape(sites)
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


class DecoderLayer(nn.Module):
    """A layer of the transformer decoder: masked attention, self-attention, two linear layers.

    It computes what transformers' layer computes, with its parameters under their names. That one
    also returns the weights of its attentions, which nobody reads. Without them PyTorch's fused
    attention can be used.

    Args:
        layer: the layer of transformers.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.self_attn = layer.self_attn
        self.self_attn_layer_norm = layer.self_attn_layer_norm
        self.activation_fn = layer.activation_fn
        self.cross_attn = layer.cross_attn
        self.cross_attn_layer_norm = layer.cross_attn_layer_norm
        self.fc1 = layer.fc1
        self.fc2 = layer.fc2
        self.final_layer_norm = layer.final_layer_norm

    def forward(
        self,
        hidden_states: Tensor,
        level_index: int,
        attention_mask: None,
        position_embeddings: Sequence[Tensor],
        query_position_embeddings: Tensor,
        encoder_hidden_states: Sequence[Tensor],
        encoder_attention_mask: Tensor,
        **unused: Any,
    ) -> tuple[Tensor]:
        """Return the layer's output Q×B×C.

        Args:
            hidden_states: queries, Q×B×C.
            level_index: which level is read.
            attention_mask: not read: each query sees all others.
            position_embeddings: of each level, S×B×C.
            query_position_embeddings: Q×B×C.
            encoder_hidden_states: pixels of each level, S×B×C.
            encoder_attention_mask: B×1×Q×S, True where a query does not see a pixel.
            unused: other arguments of transformers' layer.
        """
        placed = hidden_states + query_position_embeddings
        pixels = encoder_hidden_states[level_index]
        read = self._read_pixels(
            placed, pixels + position_embeddings[level_index], pixels, ~encoder_attention_mask
        )
        hidden_states = self.cross_attn_layer_norm(hidden_states + read)
        read = self._read_queries(hidden_states + query_position_embeddings, hidden_states)
        hidden_states = self.self_attn_layer_norm(hidden_states + read)
        widened = self.activation_fn(self.fc1(hidden_states))
        return (self.final_layer_norm(hidden_states + self.fc2(widened)),)

    def _read_pixels(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
        """Return what queries read of the pixels that they see, see :func:`_attend`."""
        cross = self.cross_attn
        of_queries, of_keys, of_values = cross.in_proj_weight.chunk(3)
        by_queries, by_keys, by_values = cross.in_proj_bias.chunk(3)
        read = _attend(
            F.linear(queries, of_queries, by_queries),
            F.linear(keys, of_keys, by_keys),
            F.linear(values, of_values, by_values),
            cross.num_heads,
            seen,
        )
        output: Tensor = cross.out_proj(read)
        return output

    def _read_queries(self, queries: Tensor, values: Tensor) -> Tensor:
        """Return what each query reads of all."""
        own = self.self_attn
        read = _attend(own.q_proj(queries), own.k_proj(queries), own.v_proj(values), own.num_heads)
        output: Tensor = own.out_proj(read)
        return output


class MaskPredictor(nn.Module):
    """Masks of the queries, and where each one looks in the next layer.

    It computes what transformers' predictor computes, with its parameters under their names. That
    one repeats where a query looks for each head of the attention; here all heads share it.

    Args:
        predictor: the predictor of transformers.
    """

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.mask_embedder = predictor.mask_embedder

    def forward(
        self, hidden_states: Tensor, mask_features: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return mask logits B×Q×h×w, and B×1×Q×S, True where a query does not look.

        Args:
            hidden_states: queries, Q×B×C.
            mask_features: B×C×h×w.
            size: (height, width) of the level that the next layer reads, of S pixels.
        """
        embeddings = self.mask_embedder(hidden_states.transpose(0, 1))
        logits = torch.einsum("bqc,bchw->bqhw", embeddings, mask_features)
        with torch.no_grad():
            resized = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            hidden = resized.sigmoid() < 0.5
        return logits, hidden.flatten(2)[:, None]


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, heads: int, seen: Tensor | None = None
) -> Tensor:
    """Return what Q queries read of S values: Q×B×C.

    Args:
        queries: Q×B×C.
        keys: S×B×C.
        values: S×B×C.
        heads: into which the C channels are split.
        seen: B×1×Q×S, True where a query reads a value; None: everywhere.
    """
    by_head, of_keys, of_values = (
        each.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3) for each in (queries, keys, values)
    )
    # PyTorch's fused attention on a CPU takes twice as long in bfloat16, and as long in float32
    attention = plain_attention if queries.device.type == "cpu" else F.scaled_dot_product_attention
    return attention(by_head, of_keys, of_values, seen).permute(2, 0, 1, 3).flatten(2)


def plain_attention(
    queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None
) -> Tensor:
    """Return what PyTorch's ``scaled_dot_product_attention`` returns, in separate steps.

    Args:
        queries: B×heads×Q×D.
        keys: B×heads×S×D.
        values: B×heads×S×D.
        seen: B×1×Q×S, True where a query reads a value; None: everywhere.
    """
    logits = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(2, 3)
    if seen is not None:
        # added once for all heads, which is faster than to fill in each head's logits
        logits = logits + torch.zeros_like(seen, dtype=logits.dtype).masked_fill_(~seen, -torch.inf)
    read: Tensor = logits.softmax(-1) @ values
    return read


def _locations(reference: Tensor, offsets: Tensor, sizes: Tensor) -> Tensor:
    """Return where the points lie, (x, y) in 0..1: B×S×heads×(levels·points·2).

    Levels, points and coordinates lie in one axis: arithmetic over a last axis of 2 is slow.

    Args:
        reference: B×S×levels×2, (x, y) of each token in 0..1.
        offsets: B×S×heads×(levels·points·2), in cells of each level.
        sizes: levels×2, (width, height) of each level in cells.
    """
    cells = sizes[:, None].expand(-1, POINTS, -1).flatten()
    places = reference[:, :, :, None].expand(-1, -1, -1, POINTS, -1).flatten(2)
    return places[:, :, None] + offsets / cells


def _sizes(shapes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
    """Return (width, height) of each level, of the type and on the device of a tensor: L×2."""
    sizes = [(width, height) for height, width in shapes]
    # a program that is being traced holds them as a constant
    if torch.compiler.is_compiling():
        return like.new_tensor(sizes)
    return sent(torch.tensor(sizes, dtype=like.dtype), like.device)
