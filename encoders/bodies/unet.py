"""The contracting path of U-Net (Ronneberger et al., MICCAI 2015)."""

from itertools import pairwise

from torch import Tensor, nn

from encoder_ablations.encoders.base import Body, depth_in_stages
from encoder_ablations.encoders.bodies.darknet import IMAGENET


class DoubleConv(nn.Module):
    """Two 3×3 convolutions that keep the size, each with BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((inputs, outputs), (outputs, outputs)):
            conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return B×outputs×h×w of features B×inputs×h×w."""
        maps: Tensor = self.layers(features)
        return maps


class UNetBody(Body):
    """Stages of two convolutions with 2×2 max pooling between them; each output is a map.

    Unlike the original the convolutions are padded, so that the maps cover the image, and have
    BatchNorm.
    """

    normalization = IMAGENET

    def __init__(self, widths: tuple[int, ...]) -> None:
        """Build the stages.

        Args:
            widths: channels of each stage, the first at the size of the image.
        """
        super().__init__()
        self.widths = widths
        self.reductions = tuple(2.0**index for index in range(len(widths)))
        self.stages = nn.ModuleList(DoubleConv(*each) for each in pairwise((3, *widths)))
        # an odd last row or column is pooled by itself, so that maps are as large as promised
        self.pool = nn.MaxPool2d(2, ceil_mode=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, see :class:`Body`."""
        first, *others = self.stages
        maps = [first(images)]
        for stage in others:
            maps.append(stage(self.pool(maps[-1])))
        return maps

    def tokens(self, height: int, width: int) -> None:
        """Return None: a convolutional body has no tokens."""
        return

    def depth_of(self, parameter: str) -> int:
        """Return the depth, see :class:`Body`. A "block" is a stage."""
        return depth_in_stages(parameter)

    @property
    def max_depth(self) -> int:
        """The number of stages plus one."""
        return len(self.stages) + 1
