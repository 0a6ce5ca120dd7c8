"""A small encoder for tests of heads."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Body, Encoder, Normalization
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.pyramids.necks import BareTaps
from encoder_ablations.encoders.spec import EncoderSpec


class TinyBody(Body):
    """One convolution, as large as its stride."""

    normalization = Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))

    def __init__(self, width=8, stride=4):
        super().__init__()
        self.widths, self.reductions = (width,), (float(stride),)
        self.patches = nn.Conv2d(3, width, stride, stride=stride)

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


@pytest.fixture
def make_bare_encoder():
    """make_bare_encoder(widths, strides) -> Encoder without a neck that says to have such maps."""

    def make(widths, strides) -> Encoder:
        body = TinyBody(widths[0], strides[0])
        body.widths, body.reductions = widths, tuple(map(float, strides))
        return Encoder(body, BareTaps(), None)

    return make


@pytest.fixture
def make_fitting_encoder(make_encoder, make_bare_encoder):
    """make_fitting_encoder(head) -> Encoder that a head of this name can read: one map at stride
    16 for ``conv_transpose``, a tiny vision transformer for ``eomt``, else the pyramid of
    ``make_encoder``."""

    def make(head: str) -> Encoder:
        if head == "eomt":
            return build_encoder(EncoderSpec(name="test_vit", weights="random", neck="none"))
        if head == "conv_transpose":
            return make_bare_encoder((32,), (16,))
        return make_encoder()

    return make
