"""From a vision transformer's maps, all at one stride, to a pyramid."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import STRIDES
from encoder_ablations.encoders.pyramids.resize import resize_to_stride

GROUPS = 32


def conv_norm(inputs: int, outputs: int, kernel: int, *more: nn.Module) -> nn.Sequential:
    """Return a convolution without bias that keeps the size, GroupNorm, and further modules."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.GroupNorm(GROUPS, outputs), *more)


def add_top_down(levels: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
    """Return levels with the next coarser one added to each, from the top down (an FPN's step).

    Args:
        levels: B×C×sizes[i], finest first.
        sizes: (rows, columns) of every level.
    """
    summed = list(levels)
    for index in reversed(range(len(levels) - 1)):
        above = F.interpolate(summed[index + 1], size=sizes[index], mode="nearest")
        summed[index] = summed[index] + above
    return summed


class BareTaps(nn.Module):
    """No neck: the body's maps, cut to the image.

    Nothing is trained between a frozen body and the head.
    """

    def forward(self, maps: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Return the taps B×widths[i]×sizes[i] of B×widths[i]×h×w."""
        return [each[..., : size[0], : size[1]] for each, size in zip(maps, sizes, strict=True)]


class TapPyramid(nn.Module):
    """One tap per level: 1×1 convolution, GroupNorm, ReLU, resize to its stride, 3×3 smoothing.

    Args:
        widths: channels of each tap, shallow to deep; the shallowest becomes p2.
        reductions: image pixels per step of each tap.
        channels: channels of every level.
        top_down: whether the next coarser level is added to each before smoothing, as in an FPN.
    """

    def __init__(
        self,
        widths: Sequence[int],
        reductions: Sequence[float],
        channels: int,
        top_down: bool = False,
    ) -> None:
        super().__init__()
        self.reductions = tuple(reductions)
        self.top_down = top_down
        self.lateral = nn.ModuleList(
            conv_norm(width, channels, 1, nn.ReLU(inplace=True)) for width in widths
        )
        self.smooth = nn.ModuleList(
            conv_norm(channels, channels, 3, nn.ReLU(inplace=True)) for _ in widths
        )

    def forward(self, maps: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Return levels B×C×sizes[i] of taps B×widths[i]×h×w."""
        levels = []
        each = zip(self.lateral, maps, self.reductions, STRIDES.values(), sizes, strict=True)
        for lateral, tap, reduction, stride, size in each:
            levels.append(resize_to_stride(lateral(tap), reduction, stride, size))
        if self.top_down:
            levels = add_top_down(levels, sizes)
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of a B×C×H×W map, as in ViTDet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """Return normalised features of the same shape B×C×H×W."""
        normalised: Tensor = self.norm(features.permute(0, 2, 3, 1))
        return normalised.permute(0, 3, 1, 2)


class SimpleFeaturePyramid(nn.Module):
    """ViTDet's pyramid (Li et al., ECCV 2022), from the last map alone.

    The map is scaled by 4, 2, 1 and 1/2; each gets a 1×1 and a 3×3 convolution with LayerNorm.
    Where the map's stride is not 16, every scaled map is brought to its level's stride by bilinear
    resizing.
    """

    def __init__(self, width: int, reduction: float, channels: int) -> None:
        super().__init__()
        self.reductions = (reduction / 4, reduction / 2, reduction, reduction * 2)
        half, quarter = width // 2, width // 4
        up4 = [nn.ConvTranspose2d(width, half, 2, 2), ChannelNorm(half), nn.GELU()]
        scales = [
            nn.Sequential(*up4, nn.ConvTranspose2d(half, quarter, 2, 2)),
            nn.Sequential(nn.ConvTranspose2d(width, half, 2, 2)),
            nn.Identity(),
            nn.MaxPool2d(2, 2, ceil_mode=True),
        ]
        self.scales = nn.ModuleList(scales)
        self.project = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, channels, 1, bias=False),
                ChannelNorm(channels),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                ChannelNorm(channels),
            )
            for inputs in (quarter, half, width, width)
        )

    def forward(self, maps: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Return levels B×C×sizes[i] of the last of the maps, B×width×h×w."""
        return [
            project(resize_to_stride(scale(maps[-1]), reduction, stride, size))
            for scale, project, reduction, stride, size in zip(
                self.scales, self.project, self.reductions, STRIDES.values(), sizes, strict=True
            )
        ]
