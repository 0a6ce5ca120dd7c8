"""Panoptic FPN's semantic branch, with the feature pyramid network that it reads."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.heads.layers import classifier, conv_norm_relu, initialize
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import FPNSpec


def _upsampling(doublings: int, inputs: int, outputs: int, spec: FPNSpec) -> nn.Sequential:
    """Return 3×3 convolutions, each but a last one at full size followed by doubling the size."""
    stages: list[nn.Module] = []
    for channels in [inputs, *[outputs] * (max(doublings, 1) - 1)]:
        stages.append(conv_norm_relu(channels, outputs, 3, spec.norm))
        if doublings:
            stages.append(nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False))
    return nn.Sequential(*stages)


@register_head("fpn", FPNSpec)
class FPNHead(DenseHead):
    """A feature pyramid (Lin et al., CVPR 2017), and the semantic branch of Panoptic FPN on it.

    The branch (Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019) convolves every
    level and doubles its size until it has that of the first; then all are added. Sizes are doubled
    with half-pixel centres, as in Detectron2.
    """

    def __init__(self, spec: FPNSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__(spec, num_classes)
        # from coarse to fine
        self.names = [level.name for level in reversed(levels)]
        self.stride = levels[0].stride
        self.lateral = nn.ModuleList(
            nn.Conv2d(level.channels, spec.hidden, 1) for level in reversed(levels)
        )
        self.branches = nn.ModuleList(
            _upsampling(doublings, spec.hidden, spec.branch_hidden, spec)
            for doublings in reversed(range(len(levels)))
        )
        self.classifier = classifier(spec.branch_hidden, num_classes, spec)
        initialize(self, self.classifier)

    @classmethod
    def build(cls, spec: FPNSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(spec, num_classes, encoder.levels)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of a pyramid, at the stride of its first level."""
        laterals = zip(self.lateral, self.names, strict=True)
        coarsest, *finer = (lateral(pyramid[name]) for lateral, name in laterals)
        summed = [coarsest]
        for level in finer:
            above = F.interpolate(summed[-1], size=level.shape[-2:], mode="nearest")
            summed.append(level + above)
        branches = [branch(level) for branch, level in zip(self.branches, summed, strict=True)]
        logits: Tensor = self.classifier(torch.stack(branches).sum(dim=0))
        return logits
