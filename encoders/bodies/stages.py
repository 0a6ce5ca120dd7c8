"""Which maps of a timm model have strides 4, 8, 16 and 32, found by running it without memory."""

import inspect
from collections.abc import Sequence
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
    """

    indices: tuple[int, ...]
    widths: tuple[int, ...]
    step: int
    unread: frozenset[str]


def size_options(architecture: str) -> dict[str, Any]:
    """Return timm's options with which a model takes images of any size; empty if it needs none."""
    with torch.device("meta"):
        model = timm.create_model(architecture, pretrained=False, num_classes=0)
    known = inspect.signature(type(model)).parameters
    # Swin shifts its windows at every stage, as the official code for segmentation does. timm would
    # leave out the shift where the last stage of a 224×224 image is one window.
    wanted = {"strict_img_size": False, "always_partition": True}
    return {key: value for key, value in wanted.items() if key in known}


@cache
def stage_maps(name: str) -> StageMaps:
    """Return the maps of the timm model called ``name``; see :func:`find_maps`."""
    architecture = name.partition(".")[0]
    with torch.device("meta"):
        model = timm.create_model(
            architecture, pretrained=False, num_classes=0, **size_options(architecture)
        )
    return find_maps(model, name)


def find_maps(model: nn.Module, name: str) -> StageMaps:
    """Return the maps at strides 4 to 32 of a model whose parameters lie on the device "meta".

    Everything after the last of these maps is removed from the model.

    Args:
        model: a timm model.
        name: what messages call it.

    Raises:
        InputError: the model has no such maps, or runs on images of one size alone.
    """
    indices = _indices(model, name)
    prune(model, indices)
    model.eval()
    problem = ""
    for step in STEPS:
        try:
            with torch.enable_grad():
                maps = [_maps_of_trial(model, indices, step, size) for size in SIZES]
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            problem = str(error).partition("\n")[0].rstrip(".")[:120]
            continue
        if None not in maps:
            trial: Any = maps[0]
            widths = tuple(each.shape[1] for each in trial)
            return StageMaps(indices, widths, step, _unread(model, trial))
    raise InputError(
        f"the timm model '{name}' cannot be an encoder: it does not give maps of strides 4, 8, 16 "
        f"and 32 for images of any size ({problem or 'its maps have other sizes'}). "
        f"Allowed: {EXAMPLES}, or a vision transformer."
    )


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


def _maps_of_trial(
    model: nn.Module, indices: Sequence[int], step: int, size: tuple[int, int]
) -> list[Tensor] | None:
    """Return the maps of an image padded to multiples of a step; None if their sizes are wrong."""
    height, width = (-(-side // step) * step for side in size)
    maps = read_maps(model, indices, torch.empty(2, 3, height, width, device="meta"))
    found = [(each.shape[-2], each.shape[-1]) for each in maps]
    if found != sizes_of(height, width):
        return None
    return maps


def _unread(model: nn.Module, maps: list[Tensor]) -> frozenset[str]:
    """Return the names of the parameters to which no gradient comes from the maps."""
    named = dict(model.named_parameters())
    total = torch.stack([each.sum() for each in maps]).sum()
    gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    pairs = zip(named, gradients, strict=True)
    return frozenset(name for name, gradient in pairs if gradient is None)
