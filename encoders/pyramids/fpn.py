"""From the maps of a convolutional body (strides 4, 8, 16, 32) to a pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.pyramids.necks import conv_norm


class AdditiveFPN(nn.Module):
    """Feature Pyramid Network (Lin et al., CVPR 2017): 1×1 laterals, nearest-neighbour top-down sums, 3×3 outputs."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_norm(width, channels, 1) for width in widths)
        self.output = nn.ModuleList(conv_norm(channels, channels, 3) for _ in widths)

    def forward(self, maps: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """B×widths[i]×h×w -> levels B×C×sizes[i]."""
        levels = [lateral(features) for lateral, features in zip(self.lateral, maps, strict=True)]
        for index in reversed(range(len(levels) - 1)):
            levels[index] = levels[index] + F.interpolate(
                levels[index + 1], size=sizes[index], mode="nearest"
            )
        return [output(level) for output, level in zip(self.output, levels, strict=True)]


class ConcatFPN(nn.Module):
    """The concatenating pyramid of hybrid DarkNet segmenters: c5 → 512, then [up, c] → 256 with 1×1 convolutions.

    p5 is brought from 512 to ``channels`` by one more 1×1 convolution, so that all levels are equally wide; so are the
    others when ``channels`` is not 256.
    """

    top, inner = 512, 256

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        coarser = [self.inner] * (len(widths) - 2) + [self.top, 0]
        outputs = [self.inner] * (len(widths) - 1) + [self.top]
        self.merge = nn.ModuleList(
            conv_norm(width + above, output, 1, nn.ReLU(inplace=True))
            for width, above, output in zip(widths, coarser, outputs, strict=True)
        )
        self.output = nn.ModuleList(
            nn.Identity() if output == channels else nn.Conv2d(output, channels, 1)
            for output in outputs
        )

    def forward(self, maps: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """B×widths[i]×h×w -> levels B×C×sizes[i]."""
        levels = [self.merge[-1](maps[-1])]
        for merge, features in zip(reversed(self.merge[:-1]), reversed(maps[:-1]), strict=True):
            above = F.interpolate(levels[0], size=features.shape[-2:], mode="nearest")
            levels.insert(0, merge(torch.cat([above, features], dim=1)))
        return [output(level) for output, level in zip(self.output, levels, strict=True)]
