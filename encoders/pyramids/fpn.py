"""From the maps of a convolutional body (strides 4, 8, 16, 32) to a pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.pyramids.necks import add_top_down, conv_norm


class AdditiveFPN(nn.Module):
    """Feature Pyramid Network (Lin et al., CVPR 2017).

    1×1 convolutions, nearest-neighbour sums from the top down, 3×3 convolutions.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_norm(width, channels, 1) for width in widths)
        self.output = nn.ModuleList(conv_norm(channels, channels, 3) for _ in widths)

    def forward(self, maps: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Return levels B×C×sizes[i] of maps B×widths[i]×h×w."""
        levels = [lateral(features) for lateral, features in zip(self.lateral, maps, strict=True)]
        levels = add_top_down(levels, sizes)
        return [output(level) for output, level in zip(self.output, levels, strict=True)]


class ConcatFPN(nn.Module):
    """The concatenating pyramid of hybrid DarkNet segmenters.

    A 1×1 convolution makes 512 channels of c5; then each coarser level is enlarged, concatenated
    with the next map and reduced to 256 by a 1×1 convolution. Levels of another width than
    ``channels`` get one more 1×1 convolution.
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
        """Return levels B×C×sizes[i] of maps B×widths[i]×h×w."""
        levels = [self.merge[-1](maps[-1])]
        for merge, features in zip(reversed(self.merge[:-1]), reversed(maps[:-1]), strict=True):
            above = F.interpolate(levels[0], size=features.shape[-2:], mode="nearest")
            levels.insert(0, merge(torch.cat([above, features], dim=1)))
        return [output(level) for output, level in zip(self.output, levels, strict=True)]
