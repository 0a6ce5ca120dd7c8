"""A small encoder for tests of heads."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Body, Encoder, Normalization


class TinyBody(Body):
    """One convolution at stride 4."""

    widths = (8,)
    reductions = (4.0,)
    normalization = Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, images):
        return [self.patches(images)]


class TinyNeck(nn.Module):
    """The map, widened and resized to each level."""

    def __init__(self, channels):
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(8, channels, 1) for _ in range(4))

    def forward(self, maps, sizes):
        return [
            F.interpolate(level(maps[0]), size=size)
            for level, size in zip(self.levels, sizes, strict=True)
        ]


@pytest.fixture
def make_encoder():
    """make_encoder(draws) -> Encoder with 32 channels, after ``draws`` random numbers were used
    up."""

    def make(draws: int = 0) -> Encoder:
        torch.rand(draws)
        return Encoder(TinyBody(), TinyNeck(32), 32)

    return make
