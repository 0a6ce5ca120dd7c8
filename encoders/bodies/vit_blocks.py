"""The blocks of timm's vision transformers, one by one, each with its own mask of attention."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from timm.models import Eva, VisionTransformer
from torch import Tensor, nn

from encoder_ablations.encoders.blocks import AttentionWeights, Blocks, Tokens
from encoder_ablations.encoders.bodies.block_parts import (
    after_attention,
    after_feedforward,
    refuse_other_blocks,
)
from encoder_ablations.encoders.bodies.text_readouts import read_out, text_width_of
from encoder_ablations.encoders.bodies.timm_vits import TimmViT, final_norm_of
from encoder_ablations.utils.errors import InputError

MASKED = "attn_mask"
"""What timm's blocks call the mask."""


def embedded(model: TimmViT, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return what the first block is given: tokens B×T×C, and their rotary embedding or None.

    These are the first lines of timm's ``forward_features``, which has no public function for them.
    """
    own: Any = model
    found = own._pos_embed(own.patch_embed(images))
    values, rotary = (found, None)
    if isinstance(model, Eva):
        values, rotary = found
    return own.norm_pre(values), rotary


class ViTBlocks(Blocks):
    """The blocks of a body that holds a timm model.

    All of them run within calls of the body itself, so that whoever measures the body or attaches
    hooks to it sees all of its work.
    """

    def __init__(
        self,
        body: nn.Module,
        model: TimmViT,
        reduction: float,
        embed: Callable[[Tensor], Tokens],
        text: bool = False,
    ) -> None:
        """Take the blocks of a body.

        Args:
            body: is called with a tensor and a function, and returns what that makes of it.
            model: its timm model.
            reduction: image pixels per patch.
            embed: makes tokens of B×3×H×W normalised images.
            text: whether the model was made with what leads into the space of texts.

        Raises:
            InputError: the model is of a class whose blocks take no mask.
        """
        if not isinstance(model, VisionTransformer | Eva) or not _takes_masks(model):
            raise InputError(
                f"the head runs the encoder's blocks itself, with masks of attention, but timm's "
                f"{type(model).__name__} takes none. Use a plain vision transformer such as CLIP, "
                "SigLIP, DINOv2, DINOv3, MAE or AIMv2."
            )
        self.body = body
        self.model: Any = model
        self.depth = len(model.blocks)
        self.width = model.embed_dim
        self.reduction = reduction
        self._embed = embed
        if text:
            self.text_width = text_width_of(model)
        # blocks of rope_mixed models have rotary embeddings of their own
        self._own_rotary = bool(getattr(model, "rope_mixed", False))

    def embed(self, images: Tensor) -> Tokens:
        """See :class:`Blocks`."""
        tokens: Tokens = self.body(images, self._embed)
        return tokens

    def run(self, index: int, tokens: Tokens, mask: Tensor | None = None) -> Tokens:
        """See :class:`Blocks`."""
        values = self.body(tokens.values, partial(self._run, index, tokens.rotary, mask))
        return replace(tokens, values=values)

    def norm(self, tokens: Tokens) -> Tensor:
        """See :class:`Blocks`."""
        values: Tensor = self.body(tokens.values, self._norm)
        return values

    def attend(
        self,
        index: int,
        tokens: Tokens,
        weights: AttentionWeights,
        residual: bool = True,
        feedforward: bool = True,
    ) -> Tokens:
        """See :class:`Blocks`.

        Raises:
            InputError: the model's blocks cannot be taken apart.
        """
        refuse_other_blocks(self.model)
        step = partial(self._attend, index, tokens, weights, residual, feedforward)
        return replace(tokens, values=self.body(tokens.values, step))

    def in_text_space(self, tokens: Tokens) -> Tensor:
        """See :class:`Blocks`."""
        if self.text_width is None:
            raise InputError(
                "the head compares the encoder's features with texts, but the encoder is built "
                "without the way into their space. Build it with build_encoder(…, text=True)."
            )
        values: Tensor = self.body(tokens.values, self._read_out)
        return values

    def _run(
        self, index: int, rotary: Tensor | None, mask: Tensor | None, values: Tensor
    ) -> Tensor:
        options: dict[str, Tensor] = {}
        if rotary is not None:
            options["rope"] = self._rotary_of(index, rotary)
        if mask is not None:
            options[MASKED] = mask
        after: Tensor = self.model.blocks[index](values, **options)
        return after

    def _attend(
        self,
        index: int,
        tokens: Tokens,
        weights: AttentionWeights,
        residual: bool,
        feedforward: bool,
        values: Tensor,
    ) -> Tensor:
        block, rotary = self.model.blocks[index], tokens.rotary
        if rotary is not None:
            rotary = self._rotary_of(index, rotary)
        after = after_attention(block, tokens, rotary, weights, residual, values)
        if feedforward:
            after = after_feedforward(block, after)
        return after

    def _rotary_of(self, index: int, rotary: Tensor) -> Tensor:
        """Return the rotary embedding of a block."""
        return rotary[index] if self._own_rotary else rotary

    def _read_out(self, values: Tensor) -> Tensor:
        return read_out(self.model, self._norm(values))

    def _norm(self, values: Tensor) -> Tensor:
        norm = final_norm_of(self.model)
        if norm is None:
            return values
        normed: Tensor = norm(values)
        return normed


def _takes_masks(model: VisionTransformer | Eva) -> bool:
    own: Any = model
    return all(MASKED in inspect.signature(block.forward).parameters for block in own.blocks)
