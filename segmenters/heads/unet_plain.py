"""The expanding path of a plain U-Net, on maps of any strides that double."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.heads.layers import double_conv, initialize
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.spec import UNetPlainSpec
from encoder_ablations.utils.errors import InputError


@register_head("unet_plain", UNetPlainSpec, reads="maps")
class UNetPlainHead(DenseHead):
    """The expanding path of U-Net (Ronneberger et al., MICCAI 2015), as wide as the contracting.

    Every step doubles the size by a 2×2 transposed convolution, appends the encoder's map of that
    size and convolves twice. With the encoder ``unet`` this is the whole U-Net, trained end to end;
    unlike the original it pads its convolutions and has norms.
    """

    def __init__(self, spec: UNetPlainSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__(spec, num_classes)
        self.names = [level.name for level in levels]
        self.stride = levels[0].stride
        widths = [level.channels for level in levels]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, kernel_size=2, stride=2)
            for fine, coarse in pairwise(widths)
        )
        self.steps = nn.ModuleList(
            nn.Sequential(double_conv(2 * width, width, spec.norm), nn.Dropout2d(spec.dropout))
            for width in widths[:-1]
        )
        self.classifier = nn.Sequential(nn.Conv2d(widths[0], num_classes, 1))
        initialize(self, self.classifier)

    @classmethod
    def build(cls, spec: UNetPlainSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for an encoder's maps.

        Raises:
            InputError: there is but one map, or one is not half as large as the map before it.
        """
        strides = [level.stride for level in encoder.levels]
        doubled = [coarse == 2 * fine for fine, coarse in pairwise(strides)]
        if not doubled or not all(doubled):
            found = ", ".join(f"{level.name} at stride {level.stride}" for level in encoder.levels)
            raise InputError(
                "unet_plain reads maps whose strides double from one to the next, but the encoder "
                f"gives {found}. Use the encoder unet, a hierarchical one, or a neck."
            )
        return cls(spec, num_classes, encoder.levels)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of maps, at the stride of the first."""
        *skips, features = (pyramid[name] for name in self.names)
        path = zip(reversed(self.up), reversed(self.steps), reversed(skips), strict=True)
        for up, step, skip in path:
            features = step(torch.cat([skip, up(features)], dim=1))
        logits: Tensor = self.classifier(features)
        return logits
