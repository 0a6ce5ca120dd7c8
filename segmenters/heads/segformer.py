"""SegFormer's all-MLP decoder."""

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
from encoder_ablations.segmenters.spec import SegFormerSpec


@register_head("segformer", SegFormerSpec)
class SegFormerHead(DenseHead):
    """The decoder of SegFormer (Xie et al., NeurIPS 2021).

    A linear layer brings every level to one width. All are enlarged to the size of the first,
    concatenated from coarse to fine, and fused by a 1×1 convolution.
    """

    def __init__(self, spec: SegFormerSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__(spec, num_classes)
        # from coarse to fine
        self.names = [level.name for level in reversed(levels)]
        self.stride = levels[0].stride
        self.linear = nn.ModuleList(
            nn.Conv2d(level.channels, spec.hidden, 1) for level in reversed(levels)
        )
        self.fuse = conv_norm_relu(len(levels) * spec.hidden, spec.hidden, 1, spec.norm)
        self.classifier = classifier(spec.hidden, num_classes, spec)
        initialize(self, self.classifier)

    @classmethod
    def build(cls, spec: SegFormerSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(spec, num_classes, encoder.levels)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of a pyramid, at the stride of its first level."""
        size = pyramid[self.names[-1]].shape[-2:]
        each = zip(self.linear, self.names, strict=True)
        joined = [resized(linear(pyramid[name]), size) for linear, name in each]
        logits: Tensor = self.classifier(self.fuse(torch.cat(joined, dim=1)))
        return logits
