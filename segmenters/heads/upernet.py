"""UPerNet: pyramid pooling of the coarsest level, an FPN, and all its levels fused."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.heads.dense import DenseHead, resized
from encoder_ablations.segmenters.heads.layers import (
    classifier,
    conv_norm_relu,
    initialize,
)
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import Norm, UPerNetSpec

BINS = (1, 2, 3, 6)
"""Rows and columns of the grids over which the coarsest level is averaged."""


class PyramidPooling(nn.Module):
    """Pyramid pooling (Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017)."""

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), conv_norm_relu(inputs, outputs, 1, norm))
            for bins in BINS
        )
        self.fuse = conv_norm_relu(inputs + len(BINS) * outputs, outputs, 3, norm)

    def forward(self, features: Tensor) -> Tensor:
        """Return B×outputs×h×w of features B×inputs×h×w."""
        pooled = [resized(pool(features), features.shape[-2:]) for pool in self.pools]
        fused: Tensor = self.fuse(torch.cat([features, *pooled], dim=1))
        return fused


@register_head("upernet", UPerNetSpec)
class UPerNetHead(DenseHead):
    """UPerNet (Xiao et al., "Unified Perceptual Parsing", ECCV 2018), as mmsegmentation has it.

    Unlike segmentation_models_pytorch it does not normalise the levels before it reads them.
    """

    def __init__(self, spec: UPerNetSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__(spec, num_classes)
        # from coarse to fine
        self.names = [level.name for level in reversed(levels)]
        self.stride = levels[0].stride
        coarsest, *finer = [level.channels for level in reversed(levels)]
        hidden, norm = spec.hidden, spec.norm
        self.pooling = PyramidPooling(coarsest, hidden, norm)
        self.lateral = nn.ModuleList(conv_norm_relu(width, hidden, 1, norm) for width in finer)
        self.smooth = nn.ModuleList(conv_norm_relu(hidden, hidden, 3, norm) for _ in finer)
        self.fuse = conv_norm_relu(len(levels) * hidden, hidden, 3, norm)
        self.classifier = classifier(hidden, num_classes, spec)
        initialize(self, self.classifier)
        if norm == "batch":
            # a grid of one cell leaves one value per image
            self.least_images = 2

    @classmethod
    def build(cls, spec: UPerNetSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(spec, num_classes, encoder.levels)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of a pyramid, at the stride of its first level."""
        coarsest, *finer = (pyramid[name] for name in self.names)
        summed = [self.pooling(coarsest)]
        for lateral, level in zip(self.lateral, finer, strict=True):
            summed.append(lateral(level) + resized(summed[-1], level.shape[-2:]))
        # the pooled level has been smoothed already
        smooth = [conv(level) for conv, level in zip(self.smooth, summed[1:], strict=True)]
        size = smooth[-1].shape[-2:]
        # concatenated from fine to coarse
        joined = [resized(level, size) for level in (*reversed(smooth), summed[0])]
        logits: Tensor = self.classifier(self.fuse(torch.cat(joined, dim=1)))
        return logits
