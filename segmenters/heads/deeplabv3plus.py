"""DeepLabV3+: atrous convolutions on the coarsest level, refined by the finest one."""

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
    separable_conv,
)
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import DeepLabV3PlusSpec, Norm

LOW = 48
"""Channels to which the finest level is reduced, so that it does not outweigh the other."""


class AtrousPooling(nn.Module):
    """Atrous spatial pyramid pooling with the image's mean (Chen et al., arXiv:1706.05587)."""

    def __init__(self, inputs: int, outputs: int, rates: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.point = conv_norm_relu(inputs, outputs, 1, norm)
        self.atrous = nn.ModuleList(separable_conv(inputs, outputs, rate, norm) for rate in rates)
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_norm_relu(inputs, outputs, 1, norm))
        self.project = conv_norm_relu((len(rates) + 2) * outputs, outputs, 1, norm)

    def forward(self, features: Tensor) -> Tensor:
        """Return B×outputs×h×w of features B×inputs×h×w."""
        near = [self.point(features), *(atrous(features) for atrous in self.atrous)]
        mean = self.mean(features).expand(-1, -1, *features.shape[-2:])
        projected: Tensor = self.project(torch.cat([*near, mean], dim=1))
        return projected


@register_head("deeplabv3plus", DeepLabV3PlusSpec)
class DeepLabV3PlusHead(DenseHead):
    """The decoder of DeepLabV3+ (Chen et al., ECCV 2018) on p5 and p2.

    The paper's network ends at stride 16 or 8, with rates 6, 12, 18 or 12, 24, 36. Encoders here
    have no dilated stages: their last level is p5, at stride 32, where rates 3, 6, 9 reach as far
    in the image. As in segmentation_models_pytorch one of the decoder's two 3×3 convolutions comes
    before the upsampling. p3 and p4 are not read.
    """

    def __init__(self, spec: DeepLabV3PlusSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__(spec, num_classes)
        fine, coarse = levels[0], levels[-1]
        self.fine, self.coarse = fine.name, coarse.name
        self.levels = (fine.name, coarse.name)
        self.stride = fine.stride
        hidden, norm = spec.hidden, spec.norm
        self.pooling = AtrousPooling(coarse.channels, hidden, spec.rates, norm)
        self.before = separable_conv(hidden, hidden, 1, norm)
        self.low = conv_norm_relu(fine.channels, LOW, 1, norm)
        self.after = separable_conv(LOW + hidden, hidden, 1, norm)
        self.classifier = classifier(hidden, num_classes, spec)
        initialize(self, self.classifier)
        if norm == "batch":
            # the image's mean is one value per image
            self.least_images = 2

    @classmethod
    def build(cls, spec: DeepLabV3PlusSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(spec, num_classes, encoder.levels)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of a pyramid, at the stride of p2."""
        low = self.low(pyramid[self.fine])
        high = self.before(self.pooling(pyramid[self.coarse]))
        joined = torch.cat([resized(high, low.shape[-2:]), low], dim=1)
        logits: Tensor = self.classifier(self.after(joined))
        return logits
