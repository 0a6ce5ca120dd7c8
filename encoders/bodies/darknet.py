"""DarkNet (Redmon & Farhadi, "YOLOv3: An Incremental Improvement", 2018).

Its modules are named as timm's.
"""

from torch import Tensor, nn

from encoder_ablations.encoders.base import Body, Normalization, depth_in_stages

IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class ConvNormAct(nn.Module):
    """Convolution without bias, BatchNorm, LeakyReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, negative_slope: float
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.LeakyReLU(negative_slope, inplace=True)
        nn.init.kaiming_normal_(
            self.conv.weight, a=negative_slope, mode="fan_out", nonlinearity="leaky_relu"
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return B×outputs×⌈H/stride⌉×⌈W/stride⌉ of features B×inputs×H×W."""
        activated: Tensor = self.act(self.bn(self.conv(features)))
        return activated


class Residual(nn.Module):
    """1×1 to half the channels, 3×3 back, added to the input."""

    def __init__(self, channels: int, negative_slope: float) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(channels, channels // 2, 1, 1, negative_slope)
        self.conv2 = ConvNormAct(channels // 2, channels, 3, 1, negative_slope)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape B×C×H×W."""
        change: Tensor = self.conv2(self.conv1(features))
        return features + change


class Stage(nn.Module):
    """A stride-2 convolution that doubles the channels, then residual blocks."""

    def __init__(self, inputs: int, outputs: int, blocks: int, negative_slope: float) -> None:
        super().__init__()
        self.conv_down = ConvNormAct(inputs, outputs, 3, 2, negative_slope)
        self.blocks = nn.Sequential(*[Residual(outputs, negative_slope) for _ in range(blocks)])

    def forward(self, features: Tensor) -> Tensor:
        """Return B×outputs×⌈H/2⌉×⌈W/2⌉ of features B×inputs×H×W."""
        maps: Tensor = self.blocks(self.conv_down(features))
        return maps


class DarkNetBody(Body):
    """A stem and five stages; the outputs of the last four are the maps (strides 4 to 32)."""

    reductions = (4.0, 8.0, 16.0, 32.0)
    normalization = IMAGENET

    def __init__(
        self, blocks: tuple[int, ...] = (1, 2, 8, 8, 4), stem: int = 32, negative_slope: float = 0.1
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("conv1", ConvNormAct(3, stem, 3, 1, negative_slope))
        widths = [stem * 2**index for index in range(len(blocks) + 1)]
        self.stages = nn.ModuleList(
            Stage(widths[index], widths[index + 1], count, negative_slope)
            for index, count in enumerate(blocks)
        )
        self.widths = tuple(widths[2:])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, see :class:`Body`."""
        features = self.stages[0](self.stem(images))
        maps = []
        for stage in self.stages[1:]:
            features = stage(features)
            maps.append(features)
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
