"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021) as one PyTorch operator.

The meaning is that of ``ms_deform_attn_core_pytorch`` in the official repository: bilinear ``grid_sample``, zeros
outside, ``align_corners=False``. Being one operator, it has a name in traces, by which its FLOPs are counted.
"""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import no_place_for_kernels

OPERATOR = "encoder_ablations::deformable_attention"
VARIABLE = "DEFORMABLE_ATTENTION"
"""Environment variable: "pytorch" selects plain PyTorch everywhere, "triton" the Triton kernels on CUDA.

On CUDA plain PyTorch is the default, because the Triton kernels have not been run on a GPU yet.
"""


def deformable_attention(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """For every query and head, the weighted sum of bilinear samples from all levels.

    Differentiable once, to value, locations and weights. A location or weight that is not finite gives NaN in its
    query and head, as ``grid_sample`` does. Half precision is computed in float32.

    Args:
        value: B×S×M×D: M heads of D numbers, at the S cells of all levels, row by row, one level after the other.
        shapes: (height, width) of each of L levels; a level may be empty.
        locations: B×Q×M×L×P×2: (x, y) of P points in 0..1 of each level's extent; outside there are zeros.
        weights: B×Q×M×L×P attention weights.

    Returns:
        B×Q×(M·D), of value's dtype.

    Raises:
        InputError: sizes, dtypes or devices that do not fit together.
    """
    sizes = [(int(height), int(width)) for height, width in shapes]
    _check(value, sizes, locations, weights)
    flat = [extent for size in sizes for extent in size]
    return _operator(*_computable(value, locations, weights), flat).to(value.dtype)


def deformable_attention_backward(
    gradient: Tensor,
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to value, locations and weights, each of its tensor's dtype, for callers with an autograd of their own.

    Args:
        gradient: B×Q×(M·D), of the output of :func:`deformable_attention` for the other arguments.
    """
    sizes = [(int(height), int(width)) for height, width in shapes]
    _check(value, sizes, locations, weights)
    expected = (value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])
    if gradient.shape != expected or gradient.device != value.device:
        given = f"{tuple(gradient.shape)} on {gradient.device}"
        raise InputError(
            f"deformable attention: expected a gradient {expected} on {value.device}, got {given}."
        )
    flat = [extent for size in sizes for extent in size]
    tensors = _computable(value, locations, weights)
    found = _operator_backward(gradient.to(tensors[0].dtype), *tensors, flat)
    return found[0].to(value.dtype), found[1].to(locations.dtype), found[2].to(weights.dtype)


def deformable_attention_path(device: torch.device, *dtypes: torch.dtype) -> str:
    """What computes for tensors of these dtypes: "numba", "triton" or "pytorch".

    Raises:
        InputError: the environment variable has a value that means nothing, or asks for what is not installed.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "pytorch", "triton"):
        allowed = "Allowed: pytorch, triton, or leave it unset."
        raise InputError(f"The environment variable {VARIABLE} is '{wanted}'. {allowed}")
    if wanted == "pytorch" or torch.float64 in dtypes:
        return "pytorch"
    if device.type == "cuda" and wanted == "triton":
        if not _has_triton():
            raise InputError(
                f"The environment variable {VARIABLE} asks for triton, which is not installed."
            )
        return "triton"
    return "numba" if device.type == "cpu" else "pytorch"


def deformable_attention_reference(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """The same in plain PyTorch, for any device and float dtype: what the kernels are measured against."""
    batch, _, heads, dim = value.shape
    output = value.new_zeros(batch * heads, dim, locations.shape[1])
    for _, cells, grid, weight in _by_level(value, shapes, locations, weights):
        output = output + (_sample(cells, grid) * weight).sum(-1)
    return output.unflatten(0, (batch, heads)).permute(0, 3, 1, 2).flatten(2)


def _kernels(value: Tensor) -> ModuleType | None:
    """The seam: the module whose ``forward`` and ``backward`` compute for tensors like this; None for plain PyTorch."""
    path = deformable_attention_path(value.device, value.dtype)
    # imported here, because numba and Triton take a second, and are needed for their own path alone
    if path == "numba":
        try:
            from encoder_ablations.segmenters.ops import deformable_attention_numba
        except RuntimeError as error:
            raise no_place_for_kernels(error) from error
        return deformable_attention_numba
    if path == "triton":
        from encoder_ablations.segmenters.ops import deformable_attention_triton

        return deformable_attention_triton
    return None


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


@torch.library.custom_op(OPERATOR, mutates_args=())
def _operator(value: Tensor, locations: Tensor, weights: Tensor, shapes: list[int]) -> Tensor:
    """shapes: height and width of each level in turn; the tensors come from :func:`_computable`."""
    kernels = _kernels(value)
    if kernels is not None:
        return kernels.forward(value, locations, weights, _pairs(shapes))
    return deformable_attention_reference(value, _pairs(shapes), locations, weights).contiguous()


@torch.library.custom_op(f"{OPERATOR}_backward", mutates_args=())
def _operator_backward(
    gradient: Tensor, value: Tensor, locations: Tensor, weights: Tensor, shapes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    kernels = _kernels(value)
    if kernels is not None:
        return kernels.backward(gradient, value, locations, weights, _pairs(shapes))
    return _reference_backward(gradient, value, locations, weights, _pairs(shapes))


@_operator.register_fake
def _(value: Tensor, locations: Tensor, weights: Tensor, shapes: list[int]) -> Tensor:
    return value.new_empty(value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])


@_operator_backward.register_fake
def _(
    gradient: Tensor, value: Tensor, locations: Tensor, weights: Tensor, shapes: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        value.new_empty(value.shape),
        locations.new_empty(locations.shape),
        weights.new_empty(weights.shape),
    )


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, list[int]], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.shapes = inputs[3]


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    return *_operator_backward(gradient, *ctx.saved_tensors, ctx.shapes), None


_operator.register_autograd(_differentiate, setup_context=_remember)


def _reference_backward(
    gradient: Tensor,
    value: Tensor,
    locations: Tensor,
    weights: Tensor,
    shapes: Sequence[tuple[int, int]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the reference, spelled out because autograd is off inside an operator. It samples once more."""
    batch, _, heads, dim = value.shape
    upstream = (
        gradient.unflatten(2, (heads, dim)).permute(0, 2, 3, 1).flatten(0, 1).unsqueeze(-1)
    )  # B·M×D×Q×1
    to_value, to_locations, to_weights = (
        value.new_zeros(tensor.shape) for tensor in (value, locations, weights)
    )
    for level, cells, grid, weight in _by_level(value, shapes, locations, weights):
        height, width = cells.shape[-2:]
        start = sum(rows * columns for rows, columns in shapes[:level])
        cells_part, grid_part = torch.ops.aten.grid_sampler_2d_backward(
            upstream * weight, cells, grid, 0, 0, False, [True, True]
        )
        cells_part = cells_part.unflatten(0, (batch, heads)).flatten(3).permute(0, 3, 1, 2)
        to_value[:, start : start + height * width] = cells_part
        to_locations[:, :, :, level] = 2 * grid_part.unflatten(0, (batch, heads)).transpose(1, 2)
        weight_part = (_sample(cells, grid) * upstream).sum(1)
        to_weights[:, :, :, level] = weight_part.unflatten(0, (batch, heads)).transpose(1, 2)
    return to_value, to_locations, to_weights


def _by_level(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """For each level that is not empty: its index, cells B·M×D×h×w, grid B·M×Q×P×2 in -1..1, weights B·M×1×Q×P."""
    parts = value.split([height * width for height, width in shapes], dim=1)
    for level, (height, width) in enumerate(shapes):
        if height and width:
            cells = parts[level].permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, (height, width))
            grid = 2 * locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
            yield (
                level,
                cells,
                grid,
                weights[:, :, :, level].transpose(1, 2).flatten(0, 1).unsqueeze(1),
            )


def _sample(cells: Tensor, grid: Tensor) -> Tensor:
    """N×D×h×w at N×Q×P×2 -> N×D×Q×P."""
    return F.grid_sample(cells, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _computable(value: Tensor, locations: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three in a common dtype, at least float32; as they are for Triton, which widens what it has loaded."""
    if (
        deformable_attention_path(value.device, value.dtype, locations.dtype, weights.dtype)
        == "triton"
    ):
        return value, locations, weights
    dtype = torch.promote_types(torch.promote_types(value.dtype, locations.dtype), weights.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    return value.to(dtype), locations.to(dtype), weights.to(dtype)


def _pairs(shapes: list[int]) -> list[tuple[int, int]]:
    return list(zip(shapes[::2], shapes[1::2], strict=True))


def _check(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> None:
    if value.dim() != 4 or locations.dim() != 6 or weights.dim() != 5:
        problem = "expected value B×S×M×D, locations B×Q×M×L×P×2, weights B×Q×M×L×P"
    elif any(extent < 0 for shape in shapes for extent in shape):
        problem = "heights and widths cannot be negative"
    elif sum(height * width for height, width in shapes) != value.shape[1]:
        problem = f"the levels have {sum(height * width for height, width in shapes)} cells, value has {value.shape[1]}"
    elif locations.shape[:-1] != weights.shape or locations.shape[-1] != 2:
        problem = "locations must be weights' shape with a last axis of 2 (x, y)"
    elif (weights.shape[0], weights.shape[2], weights.shape[3]) != (
        value.shape[0],
        value.shape[2],
        len(shapes),
    ):
        problem = "value, weights and shapes must agree on the images, heads and levels"
    elif not all(tensor.is_floating_point() for tensor in (value, locations, weights)):
        problem = "all three tensors must be floating-point"
    elif not value.device == locations.device == weights.device:
        problem = f"the tensors lie on {value.device}, {locations.device} and {weights.device}; move them to one device"
    else:
        return
    given = f"value {tuple(value.shape)}, locations {tuple(locations.shape)}, weights {tuple(weights.shape)}"
    raise InputError(f"deformable attention: {problem}. Given: {given}, shapes {shapes}.")
