"""The linear head: what can be read off the features without a decoder."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.heads.dense import DenseHead, resized
from encoder_ablations.segmenters.heads.layers import norm_layer
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import LinearSpec


@register_head("linear", LinearSpec, reads="maps")
class LinearHead(DenseHead):
    """All levels at the first one's stride, concatenated, BatchNorm or GroupNorm, 1×1 convolution.

    On the bare taps of a frozen encoder (``neck: none``) this is how DINOv2 (Oquab et al., 2023)
    evaluates. The levels are resized before the BatchNorm, although a linear map commutes with
    bilinear resizing: in training the BatchNorm divides by the variance of the resized maps, which
    is smaller.
    """

    def __init__(self, spec: LinearSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__(spec, num_classes)
        self.names = [level.name for level in levels]
        self.stride = levels[0].stride
        channels = sum(level.channels for level in levels)
        self.norm = norm_layer(spec.norm, channels)
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size=1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.get_parameter("bias"))

    @classmethod
    def build(cls, spec: LinearSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(spec, num_classes, encoder.levels)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of a pyramid, at the size of its first level."""
        first, *others = (pyramid[name] for name in self.names)
        finest = [first, *(resized(each, first.shape[-2:]) for each in others)]
        logits: Tensor = self.classifier(self.norm(torch.cat(finest, dim=1)))
        return logits
