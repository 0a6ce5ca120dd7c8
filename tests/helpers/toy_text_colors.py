"""The world of colours for zero_shot: patches and texts are vectors of colours."""

import torch
from still_blocks import StillBlocks
from toy_colors import COLORS, PATCH, Colors

from encoder_ablations.encoders.blocks import Tokens

ENCODER = {"name": "toy_text_colors:colors", "label": "eye", "neck": "none"}


class ColorBlocks(StillBlocks):
    """Patches are mean colours; the blocks do nothing."""

    depth, width, reduction, text_width = 2, 3, float(PATCH), 3

    def __init__(self, module):
        self.module = module

    def embed(self, images):
        (maps,) = self.module(images)
        values = maps.flatten(2).transpose(1, 2)
        return Tokens(values, 0, tuple(maps.shape[-2:]))


class ColorsWithBlocks(Colors):
    def as_blocks(self):
        return ColorBlocks(self)


def colors(pretrained=False):
    return ColorsWithBlocks()


def features(encoder, texts, spec):
    """In place of a text tower: the colours that the texts name."""
    return torch.tensor([COLORS[text] for text in texts]).float()
