"""U-Net's expanding path on a pyramid."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.heads.layers import classifier, double_conv, initialize
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import UNetSpec


@register_head("unet", UNetSpec)
class UNetHead(DenseHead):
    """The expanding path of U-Net (Ronneberger et al., MICCAI 2015) on p5, p4, p3 and p2.

    Every step doubles the size by nearest neighbours, appends the finer level and convolves twice.
    The fourth and fifth step have no finer level to append. The structure is that of
    segmentation_models_pytorch, whose decoder gives the same numbers.
    """

    def __init__(self, spec: UNetSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__(spec, num_classes)
        # from coarse to fine
        self.names = [level.name for level in reversed(levels)]
        coarsest, *skips = [level.channels for level in reversed(levels)]
        inputs = [coarsest, *spec.widths[:-1]]
        steps = zip_longest(inputs, skips, spec.widths, fillvalue=0)
        self.steps = nn.ModuleList(
            double_conv(above + skip, width, spec.norm) for above, skip, width in steps
        )
        self.stride = levels[-1].stride // 2 ** len(spec.widths)
        self.classifier = classifier(spec.widths[-1], num_classes, spec, kernel=3)
        initialize(self, self.classifier)

    @classmethod
    def build(cls, spec: UNetSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(spec, num_classes, encoder.levels)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of a pyramid, at stride 4, 2 or 1."""
        coarsest, *skips = (pyramid[name] for name in self.names)
        features = coarsest
        for step, skip in zip_longest(self.steps, skips):
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            if skip is not None:
                features = torch.cat([features, skip], dim=1)
            features = step(features)
        logits: Tensor = self.classifier(features)
        return logits
