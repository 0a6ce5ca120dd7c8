"""From the maps of a vision transformer, all at one stride, to a pyramid."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import STRIDES
from encoder_ablations.encoders.pyramids.resize import resize_to_stride

GROUPS = 32


def conv_norm(inputs: int, outputs: int, kernel: int, *more: nn.Module) -> nn.Sequential:
    """Convolution without bias that keeps the size, GroupNorm (32 groups), and what follows."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.GroupNorm(GROUPS, outputs), *more)


class BareTaps(nn.Module):
    """No neck: the body's maps, cut to the image. Nothing is trained between a frozen body and the head."""

    def forward(self, maps: list[Tensor], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Taps B×widths[i]×h×w -> the taps B×widths[i]×sizes[i]."""
        return [each[..., : size[0], : size[1]] for each, size in zip(maps, sizes, strict=True)]


class TapPyramid(nn.Module):
    """One tap per level: 1×1 convolution, GroupNorm, ReLU, resize to the level's stride, 3×3 smoothing.

    Args:
        widths: channels of each tap, shallow to deep; the shallowest becomes p2.
        reductions: image pixels per step of each tap.
        channels: channels of every level.
        top_down: before smoothing, add to each level the next coarser one (nearest neighbour), as an FPN does.
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
        """Taps B×widths[i]×h×w -> levels B×C×sizes[i]."""
        levels = [
            resize_to_stride(lateral(tap), reduction, stride, size)
            for lateral, tap, reduction, stride, size in zip(
                self.lateral, maps, self.reductions, STRIDES.values(), sizes, strict=True
            )
        ]
        if self.top_down:
            for index in reversed(range(len(levels) - 1)):
                levels[index] = levels[index] + F.interpolate(
                    levels[index + 1], size=sizes[index], mode="nearest"
                )
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of a B×C×H×W map, as in ViTDet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """B×C×H×W -> the same shape."""
        return self.norm(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SimpleFeaturePyramid(nn.Module):
    """ViTDet's pyramid (Li et al., ECCV 2022) from the last map alone: scales 4, 2, 1, 1/2, each 1×1 and 3×3 with LN.

    Where the map's stride is not 16, every scaled map is brought to its level's stride by bilinear resizing.
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
        """[B×width×h×w] (the last map is used) -> levels B×C×sizes[i]."""
        return [
            project(resize_to_stride(scale(maps[-1]), reduction, stride, size))
            for scale, project, reduction, stride, size in zip(
                self.scales, self.project, self.reductions, STRIDES.values(), sizes, strict=True
            )
        ]
