"""The contract of an encoder: a normalised image in, a feature pyramid out."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}


class Level(NamedTuple):
    """One level of a pyramid: its name, its channels, and the image pixels per step along each side."""

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Normalization:
    """What an encoder's weights were trained with: ``(rgb / 255 - mean) / std`` for each of R, G, B."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Body(nn.Module):
    """The pretrained part: an image to feature maps.

    Attributes:
        widths: channels of each map.
        reductions: image pixels per step of each map; need not be an integer (patch 14 read as 16 is 16.0).
        normalization: what the weights expect.
        frozen: modules that stay in evaluation mode, see :func:`encoder_ablations.encoders.freezing.freeze`.
    """

    widths: tuple[int, ...]
    reductions: tuple[float, ...]
    normalization: Normalization

    def forward(self, images: Tensor) -> list[Tensor]:
        """B×3×H×W normalised -> maps B×widths[i]×⌈H/reductions[i]⌉×⌈W/reductions[i]⌉, finest first."""
        raise NotImplementedError

    def tokens(self, height: int, width: int) -> int | None:
        """Patch tokens of an image of this size; None for a convolutional body."""
        raise NotImplementedError

    def depth_of(self, parameter: str) -> int:
        """Position of a parameter in depth: 0 = stem, k = k-th block, ``max_depth`` = after the last block."""
        raise NotImplementedError

    @property
    def max_depth(self) -> int:
        """Number of blocks plus one."""
        raise NotImplementedError

    def facts(self) -> dict[str, object]:
        """What a reader of a result must know about the body; plain values only."""
        return {
            "kind": type(self).__name__,
            "widths": list(self.widths),
            "reductions": list(self.reductions),
            "mean": list(self.normalization.mean),
            "std": list(self.normalization.std),
        }


class Encoder(nn.Module):
    """A body and a neck: image to pyramid.

    Attributes:
        levels: p2..p5, strides 4, 8, 16, 32.
        normalization: mean and std for RGB in 0..1.
    """

    def __init__(self, body: Body, neck: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = body
        self.neck = neck
        self.frozen: tuple[nn.Module, ...] = ()
        self.levels = tuple(Level(name, channels, stride) for name, stride in STRIDES.items())

    @property
    def normalization(self) -> Normalization:
        return self.body.normalization

    @property
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part: "body" (pretrained), "neck" (always trained from random weights)."""
        return {"body": list(self.body.parameters()), "neck": list(self.neck.parameters())}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """B×3×H×W, normalised -> {"p2": B×C×⌈H/4⌉×⌈W/4⌉, "p3": …/8, "p4": …/16, "p5": …/32}."""
        sizes = [(-(-images.shape[-2] // level.stride), -(-images.shape[-1] // level.stride)) for level in self.levels]
        body_learns = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.body.parameters())
        with torch.set_grad_enabled(body_learns):
            maps = self.body(images)
        return dict(zip(STRIDES, self.neck(maps, sizes), strict=True))

    def train(self, mode: bool = True) -> "Encoder":
        """As in PyTorch, but frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self
