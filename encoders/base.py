"""The contract of an encoder: a normalised image in, a feature pyramid out."""

from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from encoder_ablations.encoders.blocks import Blocks
from encoder_ablations.encoders.spec import Statistics
from encoder_ablations.utils.errors import InputError

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}


class Level(NamedTuple):
    """One level of a pyramid: its name, its channels, and its image pixels per step."""

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Normalization:
    """Normalisation that an encoder's weights expect: ``(rgb / 255 - mean) / std`` for R, G, B."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def depth_in_stages(parameter: str) -> int:
    """Return the depth of ``stages.0.…`` as 1, of ``stages.1.…`` as 2, and of all else as 0."""
    part, _, rest = parameter.partition(".")
    if part != "stages":
        return 0
    return int(rest.partition(".")[0]) + 1


class Body(nn.Module):
    """The pretrained part: an image to feature maps.

    Attributes:
        widths: channels of each map.
        reductions: image pixels per step of each map; not always integers.
        normalization: what the weights expect.
        loaded: source, file name and SHA-256 of the weights; None where they are random.
    """

    widths: tuple[int, ...]
    reductions: tuple[float, ...]
    normalization: Normalization
    loaded: dict[str, str] | None = None

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return maps B×widths[i]×⌈H/reductions[i]⌉×⌈W/reductions[i]⌉, finest first.

        Args:
            images: B×3×H×W, normalised.
        """
        raise NotImplementedError

    def tokens(self, height: int, width: int) -> int | None:
        """Return the patch tokens of an image of this size; None for a convolutional body."""
        raise NotImplementedError

    def depth_of(self, parameter: str) -> int:
        """Return the position of a parameter in depth.

        0 is the stem, k the k-th block, and ``max_depth`` what comes after the last block.
        """
        raise NotImplementedError

    @property
    def max_depth(self) -> int:
        """Number of blocks plus one."""
        raise NotImplementedError

    def reads(self, parameter: str) -> bool:
        """Return whether any map depends on a parameter; others have no gradient."""
        return True

    def forget_copies(self) -> None:
        """Forget copies of layers that the body has made, because its layers were replaced."""

    def as_blocks(self) -> Blocks:
        """Return the body as blocks that a head runs one by one.

        Raises:
            InputError: the body is no plain vision transformer, or one that takes no masks.
        """
        raise InputError(
            "the head runs the encoder's blocks itself, which only plain vision transformers have; "
            "this encoder is none. Use one such as CLIP, SigLIP, DINOv2, DINOv3, MAE or AIMv2."
        )

    def facts(self) -> dict[str, object]:
        """Return the body's properties that a result depends on, as plain values."""
        return {
            "kind": type(self).__name__,
            "widths": list(self.widths),
            "reductions": list(self.reductions),
            "mean": list(self.normalization.mean),
            "std": list(self.normalization.std),
        }


def _levels_of(body: Body) -> tuple[Level, ...]:
    """Return the levels that a body's own maps are: p2..p5 at the strides of a pyramid."""
    names = [f"tap{index}" for index in range(len(body.widths))]
    if body.reductions == tuple(STRIDES.values()):
        names = list(STRIDES)
    each = zip(names, body.widths, body.reductions, strict=True)
    return tuple(Level(name, width, round(stride)) for name, width, stride in each)


class Encoder(nn.Module):
    """A body and a neck: image to pyramid.

    Attributes:
        levels: p2..p5, strides 4, 8, 16, 32. Without a neck they have the body's own channels;
            a body with other strides then gives tap0...
        frozen: modules that stay in evaluation mode, see
            :func:`encoder_ablations.encoders.freezing.freeze`.
        adapters: name of a layer in the frozen body → the modules that learn beside it, see
            :func:`encoder_ablations.encoders.adaptation.add_adapters`.
        map_dtype: what the body's maps are rounded to; None = not rounded. See :meth:`round_maps`.
        batch_norm: where the body's BatchNorm statistics come from, see
            :func:`encoder_ablations.encoders.batch_norm.statistics_of`; None = it has no BatchNorm.
    """

    def __init__(self, body: Body, neck: nn.Module, channels: int | None) -> None:
        """Compose an encoder.

        Args:
            body: gives the maps.
            neck: makes levels of them.
            channels: of every level of the pyramid; None = the neck hands on the body's maps.
        """
        super().__init__()
        self.body = body
        self.neck = neck
        self.frozen: tuple[nn.Module, ...] = ()
        self.adapters: dict[str, nn.ModuleList] = {}
        self.map_dtype: torch.dtype | None = None
        self.batch_norm: Statistics | None = None
        if channels is None:
            self.levels = _levels_of(body)
        else:
            self.levels = tuple(Level(name, channels, stride) for name, stride in STRIDES.items())

    @property
    def normalization(self) -> Normalization:
        """Mean and standard deviation for RGB in 0..1."""
        return self.body.normalization

    @property
    def divisibility(self) -> int:
        """The coarsest stride, 32 for every pyramid; images are padded to multiples of it."""
        return max(level.stride for level in self.levels)

    @property
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by part: "body" (pretrained), "neck" (trained from random weights)."""
        return {"body": list(self.body.parameters()), "neck": list(self.neck.parameters())}

    @property
    def body_is_frozen(self) -> bool:
        """Whether the body's maps of an image never change.

        It then has no gradient, and all of it is in evaluation mode.
        """
        return not self._body_learns() and any(module is self.body for module in self.frozen)

    def _body_learns(self) -> bool:
        return any(parameter.requires_grad for parameter in self.body.parameters())

    @property
    def adapter_names(self) -> frozenset[str]:
        """Names of the adapters' parameters, as ``named_parameters`` gives them."""
        parts = [adapter.parameters() for adapter in self.adapters.values()]
        own = {id(parameter) for parameter in chain.from_iterable(parts)}
        named = self.named_parameters()
        return frozenset(name for name, parameter in named if id(parameter) in own)

    def round_maps(self, precision: Literal["fp32", "bf16", "fp16"]) -> None:
        """Round the body's maps to a precision from now on; "fp32" leaves them as computed."""
        self.map_dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"p2": B×C×⌈H/4⌉×⌈W/4⌉, "p3": …/8, "p4": …/16, "p5": …/32}.

        Args:
            images: B×3×H×W, normalised.
        """
        return self.pyramid(self.maps(images), (images.shape[-2], images.shape[-1]))

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the body's maps of B×3×H×W normalised images, see :meth:`Body.forward`.

        Raises:
            InputError: float16 cannot hold them.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._body_learns()):
            maps: list[Tensor] = self.body(images)
        if self.map_dtype is None:
            return maps
        rounded = [each.to(self.map_dtype).to(each.dtype) for each in maps]
        if self.map_dtype is torch.float16 and not all(each.isfinite().all() for each in rounded):
            raise InputError(
                "feature_precision fp16 cannot hold this encoder's features, some of which exceed "
                "65504. Use bf16."
            )
        return rounded

    def pyramid(self, maps: list[Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the levels that the neck makes of the body's maps, as :meth:`forward` does.

        Args:
            maps: see :meth:`maps`.
            size: (H, W) of the images.
        """
        height, width = size
        # strides go into the sides, rounded up
        sizes = [(-(-height // level.stride), -(-width // level.stride)) for level in self.levels]
        names = [level.name for level in self.levels]
        return dict(zip(names, self.neck(maps, sizes), strict=True))

    def train(self, mode: bool = True) -> "Encoder":
        """Set the mode as PyTorch does, but leave frozen modules in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        # they lie within the frozen body
        for adapter in self.adapters.values():
            adapter.train(mode)
        return self
