"""The contract of a body whose blocks a head runs itself, one by one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Tokens between two blocks of a vision transformer.

    Attributes:
        values: B×T×C: prefix tokens, patches row by row, then the tokens that were added.
        prefix: number of prefix tokens (class and registers).
        grid: (rows, columns) of patches.
        rotary: sines and cosines of the rotary embedding of all tokens but the prefix, …×(T -
            prefix)×2D; None for a model without one. With a first dimension of depth in models
            whose blocks have their own.
    """

    values: Tensor
    prefix: int
    grid: tuple[int, int]
    rotary: Tensor | None = None

    @property
    def patches(self) -> slice:
        """Where the patches are among the tokens."""
        return slice(self.prefix, self.prefix + self.grid[0] * self.grid[1])

    @property
    def added(self) -> slice:
        """Where the tokens are that were added behind the patches."""
        return slice(self.patches.stop, self.values.shape[1])

    def with_added(self, more: Tensor) -> "Tokens":
        """Return these tokens and more behind them, which have no position.

        Args:
            more: B×N×C.
        """
        rotary = self.rotary
        if rotary is not None:
            # a rotation by the angle 0: sine 0, cosine 1
            shape = (*rotary.shape[:-2], more.shape[1], rotary.shape[-1] // 2)
            still = torch.cat([rotary.new_zeros(shape), rotary.new_ones(shape)], dim=-1)
            rotary = torch.cat([rotary, still], dim=-2)
        return replace(self, values=torch.cat([self.values, more], dim=1), rotary=rotary)

    def as_map(self, values: Tensor) -> Tensor:
        """Return the patches among B×T×C values as a map B×C×rows×columns."""
        found: Tensor = values[:, self.patches].transpose(1, 2).unflatten(2, self.grid)
        return found


@dataclass(frozen=True)
class AttentionInput:
    """What the attention of a block is computed from.

    Attributes:
        queries: B×h×T×D, of h heads, after a model's own norm of queries and rotary embedding, not
            yet scaled.
        keys: B×h×T×D, likewise.
        values: B×h×T×D.
        scale: what the model multiplies products of queries and keys by, usually 1/√D.
        tokens: before the block; they say where the patches are.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    scale: float
    tokens: Tokens


AttentionWeights = Callable[[AttentionInput], Tensor]
"""Returns B×h×T×T: how much the token of a row takes of the values of each column."""


class Blocks:
    """A vision transformer as a series of blocks: embed, run every block, apply the final norm.

    Without masks this is the model's own forward pass. What a head adds to the tokens, and which
    tokens a block lets attend to which, is the head's business.

    Attributes:
        depth: number of blocks.
        width: channels of a token, C.
        reduction: image pixels per patch; not always an integer.
        text_width: numbers of a token in the space of texts, D; None = there is no way into it.
    """

    depth: int
    width: int
    reduction: float
    text_width: int | None = None

    def embed(self, images: Tensor) -> Tokens:
        """Return what the first block is given.

        Args:
            images: B×3×H×W, normalised.
        """
        raise NotImplementedError

    def run(self, index: int, tokens: Tokens, mask: Tensor | None = None) -> Tokens:
        """Return the tokens after a block.

        Args:
            index: of the block, 0..depth-1.
            tokens: before it.
            mask: T×T or B×1×T×T bool, whether the token of a row attends to that of a column; every
                row needs one. Or numbers that are added to the attention's logits. None: all attend
                to all.
        """
        raise NotImplementedError

    def norm(self, tokens: Tokens) -> Tensor:
        """Return the values B×T×C after the final norm; as they are in a model without one."""
        raise NotImplementedError

    def attend(
        self,
        index: int,
        tokens: Tokens,
        weights: AttentionWeights,
        residual: bool = True,
        feedforward: bool = True,
    ) -> Tokens:
        """Return the tokens after a block whose attention weights are computed by a function.

        With the softmax of the scaled products this is :meth:`run`.

        Args:
            index: of the block, 0..depth-1.
            tokens: before it.
            weights: replaces the block's own attention weights.
            residual: whether the tokens are added to what the attention gives.
            feedforward: whether the block's MLP follows, with its own residual.
        """
        raise NotImplementedError

    def in_text_space(self, tokens: Tokens) -> Tensor:
        """Return the tokens after the last block in the space of text features, B×T×D.

        They are not normalised to length one.

        Raises:
            InputError: the model was not trained with texts.
        """
        raise NotImplementedError
