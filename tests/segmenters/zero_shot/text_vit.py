"""Small bodies for tests of zero-shot segmentation: a transformer with random weights, and one
whose patches are the mean colours of the image."""

import math
from dataclasses import replace

import torch
from still_blocks import StillBlocks
from torch import nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Body, Encoder, Normalization
from encoder_ablations.encoders.blocks import AttentionInput, Blocks, Tokens
from encoder_ablations.encoders.pyramids.necks import BareTaps

WIDTH, HEADS, DEPTH, PATCH, TEXT = 16, 2, 3, 4, 12
NORMALIZATION = Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


class Block(nn.Module):
    """A block of a transformer, its parts by name."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))

    def qkv_of(self, values):
        """Three tensors B×h×T×D."""
        parts = self.qkv(self.norm1(values)).unflatten(-1, (3, HEADS, -1))
        return parts.permute(2, 0, 3, 1, 4)

    def after(self, values, attention, residual, feedforward):
        found = self.out((attention @ self.qkv_of(values)[2]).transpose(1, 2).flatten(2))
        if residual:
            found = values + found
        if feedforward:
            found = found + self.mlp(self.norm2(found))
        return found


class TextViT(nn.Module, Blocks):
    """Patches of 4 pixels, a class token, three blocks, a projection to the space of texts."""

    depth, width, reduction = DEPTH, WIDTH, float(PATCH)
    text_width = TEXT

    def __init__(self, prefix=1, seed=0):
        super().__init__()
        self.prefix = prefix
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)
            self.class_tokens = nn.Parameter(torch.randn(prefix, WIDTH))
            self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
            self.last_norm = nn.LayerNorm(WIDTH)
            self.projection = nn.Linear(WIDTH, TEXT, bias=False)

    def embed(self, images):
        below, right = (-side % PATCH for side in images.shape[-2:])
        maps = self.patches(F.pad(images, (0, right, 0, below)))
        rows, columns = torch.meshgrid(*map(torch.arange, maps.shape[-2:]), indexing="ij")
        maps = maps + 0.1 * torch.sin(rows + 2 * columns)
        prefix = self.class_tokens.expand(len(images), -1, -1)
        values = torch.cat([prefix, maps.flatten(2).transpose(1, 2)], dim=1)
        return Tokens(values, self.prefix, tuple(maps.shape[-2:]))

    def run(self, index, tokens, mask=None):
        block = self.blocks[index]
        queries, keys, _ = block.qkv_of(tokens.values)
        logits = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if mask is not None:
            assert mask.dtype is torch.bool
            logits = logits.masked_fill(~mask, -math.inf)
        after = block.after(tokens.values, logits.softmax(-1), True, True)
        return replace(tokens, values=after)

    def attend(self, index, tokens, weights, residual=True, feedforward=True):
        block = self.blocks[index]
        queries, keys, values = block.qkv_of(tokens.values)
        given = AttentionInput(queries, keys, values, queries.shape[-1] ** -0.5, tokens)
        found = weights(given)
        count = tokens.values.shape[1]
        assert found.shape == (len(values), HEADS, count, count)
        after = block.after(tokens.values, found, residual, feedforward)
        return replace(tokens, values=after)

    def norm(self, tokens):
        return self.last_norm(tokens.values)

    def in_text_space(self, tokens):
        return self.projection(self.norm(tokens))


class ColourBlocks(StillBlocks):
    """A body whose patch features are the mean normalised colours, and whose blocks do nothing."""

    depth, width, text_width = 2, 3, 3

    def __init__(self, patch=4):
        self.reduction = float(patch)
        self.seen = []

    def embed(self, images):
        self.seen.append(images)
        patch = int(self.reduction)
        below, right = (-side % patch for side in images.shape[-2:])
        maps = F.avg_pool2d(F.pad(images, (0, right, 0, below), mode="replicate"), patch)
        values = maps.flatten(2).transpose(1, 2)
        return Tokens(values, 0, tuple(maps.shape[-2:]))


class BlocksBody(Body):
    """The body of given blocks."""

    normalization = NORMALIZATION

    def __init__(self, blocks):
        super().__init__()
        self.blocks = blocks
        self.widths, self.reductions = (blocks.width,), (blocks.reduction,)

    def as_blocks(self):
        return self.blocks

    def tokens(self, height, width):
        return None


def encoder_of(blocks):
    return Encoder(BlocksBody(blocks), BareTaps(), None)
