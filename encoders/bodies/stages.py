"""Which maps of a timm model have strides 4, 8, 16 and 32, found by running it without memory."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn

from encoder_ablations.encoders.base import STRIDES
from encoder_ablations.utils.errors import InputError

STEPS = (1, 4, 32, 64, 128)
"""Numbers to whose multiples images may have to be padded; the first that works is taken."""
SIZES = ((97, 65), (75, 102))
"""Heights and widths of trial images. Halved again and again, 97 and 65 are odd at every stage, so
that a model which rounds down anywhere gives too small a map.
"""
EXAMPLES = "resnet50, efficientnet_lite0, or timm's convnext, swin, pvt_v2 and fastvit models"


@dataclass(frozen=True)
class StageMaps:
    """The maps of a timm model at strides 4, 8, 16 and 32.

    Attributes:
        indices: their positions among the model's feature maps.
        widths: channels of each.
        step: number to whose multiples height and width must be padded.
        unread: names of parameters that none of the maps depends on.
        options: timm's options with which the model was built.
    """

    indices: tuple[int, ...]
    widths: tuple[int, ...]
    step: int
    unread: frozenset[str]
    options: Mapping[str, Any]


@cache
def stage_maps(architecture: str) -> StageMaps:
    """Return the maps of the timm model of this name, without tag; see :func:`find_maps`."""
    model = _without_memory(architecture)
    options = size_options(type(model))
    if options:
        model = _without_memory(architecture, **options)
    return find_maps(model, architecture, options)


def size_options(kind: type[nn.Module]) -> dict[str, Any]:
    """Return the options with which a class of timm takes images of any size, if it has them."""
    # Swin shifts its windows at every stage, as the official code for segmentation does. timm would
    # leave out the shift where the last stage of a 224×224 image is one window.
    wanted = {"strict_img_size": False, "always_partition": True}
    known = inspect.signature(kind).parameters
    return {key: value for key, value in wanted.items() if key in known}


def _without_memory(architecture: str, **options: Any) -> nn.Module:
    """Return a timm model on the device "meta"."""
    with torch.device("meta"):
        model: nn.Module = timm.create_model(
            architecture, pretrained=False, num_classes=0, **options
        )
    return model


def find_maps(model: nn.Module, name: str, options: Mapping[str, Any]) -> StageMaps:
    """Return the maps at strides 4 to 32 of a model whose parameters lie on the device "meta".

    Everything after the last of these maps is removed from the model.

    Args:
        model: a timm model.
        name: what messages call it.
        options: with which timm has built it.

    Raises:
        InputError: the model has no such maps, or runs on images of one size alone.
    """
    indices = _indices(model, name)
    prune(model, indices)
    model.eval()
    for step in STEPS:
        sizes = [(_rounded_up(height, step), _rounded_up(width, step)) for height, width in SIZES]
        maps = _trial_maps(model, indices, sizes)
        if maps:
            widths = tuple(each.shape[1] for each in maps)
            return StageMaps(indices, widths, step, _unread(model, maps), options)
    raise InputError(
        f"the timm model '{name}' cannot be an encoder: {_reason(model, indices)}. "
        f"Allowed: {EXAMPLES}, or a vision transformer."
    )


def _rounded_up(side: int, step: int) -> int:
    """Return the next multiple of a step."""
    # ONNX would round the quotient of a negative number up
    return (side + step - 1) // step * step


def _reason(model: nn.Module, indices: Sequence[int]) -> str:
    """Return why no trial has given maps of the right sizes."""
    timm_model: Any = model
    _, height, width = timm_model.default_cfg["input_size"]
    if _trial_maps(model, indices, [(height, width)]):
        return (
            f"it takes images of {height}×{width} pixels only, and crops and whole images of a "
            "dataset have other sizes"
        )
    return "its maps have other sizes than the image divided by 4, 8, 16 and 32"


def prune(model: nn.Module, indices: Sequence[int]) -> None:
    """Remove what lies behind the last of a model's maps: the classifier, its norm, last stages."""
    timm_model: Any = model
    timm_model.prune_intermediate_layers(list(indices), prune_norm=True)


def read_maps(model: nn.Module, indices: Sequence[int], images: Tensor) -> list[Tensor]:
    """Return maps B×C×h×w of images B×3×H×W by timm's own forward pass, finest first."""
    timm_model: Any = model
    maps: list[Tensor] = timm_model.forward_intermediates(
        images,
        indices=list(indices),
        stop_early=True,
        output_fmt="NCHW",
        intermediates_only=True,
    )
    return maps


def sizes_of(height: int, width: int) -> list[tuple[int, int]]:
    """Return (rows, columns) of the maps of an image, its sides divided and rounded up."""
    return [(-(-height // stride), -(-width // stride)) for stride in STRIDES.values()]


def _indices(model: nn.Module, name: str) -> tuple[int, ...]:
    """Return the position of the last map at each stride.

    Raises:
        InputError: there is none at one of them.
    """
    information: Any = getattr(model, "feature_info", None) or ()
    strides = [each["reduction"] for each in information]
    missing = [stride for stride in STRIDES.values() if stride not in strides]
    usable = hasattr(model, "forward_intermediates") and hasattr(model, "prune_intermediate_layers")
    if missing or not usable:
        found = ", ".join(str(stride) for stride in sorted(set(strides))) or "unknown"
        raise InputError(
            f"the timm model '{name}' cannot be an encoder: an encoder's maps have the strides 4, "
            f"8, 16 and 32, this model's are {found}. Allowed: {EXAMPLES}, or a vision transformer."
        )
    last = {stride: index for index, stride in enumerate(strides)}
    return tuple(last[stride] for stride in STRIDES.values())


@torch.enable_grad()
def _trial_maps(
    model: nn.Module, indices: Sequence[int], sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """Return the maps of images of the last of the sizes.

    They are none if the model does not run on one of the sizes, or if maps have wrong sizes.
    """
    maps: list[Tensor] = []
    for height, width in sizes:
        images = torch.empty(2, 3, height, width, device="meta")
        try:
            maps = read_maps(model, indices, images)
        # what timm's models raise for images of a size that they do not take
        except (RuntimeError, AssertionError, ValueError, TypeError):
            return []
        if [(each.shape[-2], each.shape[-1]) for each in maps] != sizes_of(height, width):
            return []
    return maps


def _unread(model: nn.Module, maps: list[Tensor]) -> frozenset[str]:
    """Return the names of the parameters to which no gradient comes from the maps."""
    named = dict(model.named_parameters())
    total = torch.stack([each.sum() for each in maps]).sum()
    gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    pairs = zip(named, gradients, strict=True)
    return frozenset(name for name, gradient in pairs if gradient is None)
