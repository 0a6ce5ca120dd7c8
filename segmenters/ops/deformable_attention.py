"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021) as one operator.

For query q and head m the output is eq. 3 of the paper: the sum over levels l and points k of
``weights[q, m, l, k]`` times the bilinear sample of ``value`` in level l at
``locations[q, m, l, k]``. The projections before and after it are the caller's. Being one operator,
it has a name in traces, by which its FLOPs are counted.
"""

import os
from collections.abc import Sequence
from functools import cache, reduce
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from encoder_ablations.segmenters.ops import deformable_attention_pytorch
from encoder_ablations.segmenters.ops.cuda_choice import path_on_cuda
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import no_place_for_kernels

OPERATOR = "encoder_ablations::deformable_attention"
VARIABLE = "DEFORMABLE_ATTENTION"
"""Environment variable: "pytorch" selects plain PyTorch everywhere, "triton" the Triton kernels on
CUDA without a check. By default they are used there where they agree with PyTorch, see
:mod:`.cuda_choice`.
"""

Tensors = tuple[Tensor, Tensor, Tensor]
"""What belongs to value, locations and weights, in this order."""


def deformable_attention(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Return the weighted sum of bilinear samples from all levels, for every query and head.

    Differentiable once, to value, locations and weights. A location or weight that is not finite
    gives NaN in its query and head, as ``grid_sample`` does. Half precision is computed in float32.

    Args:
        value: B×S×M×D: M heads of D numbers, at the S cells of all levels, row by row, one level
            after the other.
        shapes: (height, width) of each of L levels; a level may be empty.
        locations: B×Q×M×L×P×2: (x, y) of P points in 0..1 of each level's extent. Outside lie
            zeros.
        weights: B×Q×M×L×P attention weights.

    Returns:
        B×Q×(M·D), of value's dtype.

    Raises:
        InputError: sizes, dtypes or devices do not fit together.
    """
    extents = _checked_extents(value, shapes, locations, weights)
    if torch.compiler.is_exporting():
        # an exported program is computed where this operator is not known
        tensors = _computable(value, locations, weights)
        return deformable_attention_pytorch.forward(*tensors, _pairs(extents)).to(value.dtype)
    output: Tensor = _operator(*_computable(value, locations, weights), extents)
    return output.to(value.dtype)


def deformable_attention_backward(
    gradient: Tensor,
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    locations: Tensor,
    weights: Tensor,
) -> Tensors:
    """Return the gradients to value, locations and weights, each of its tensor's dtype.

    It is for callers with an autograd of their own.

    Args:
        gradient: B×Q×(M·D), of the output of :func:`deformable_attention`.
        value: see :func:`deformable_attention`, also for the other arguments.
        shapes: the levels' sizes.
        locations: the points.
        weights: the attention weights.

    Raises:
        InputError: sizes, dtypes or devices do not fit together.
    """
    extents = _checked_extents(value, shapes, locations, weights)
    expected = (value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])
    if gradient.shape != expected or gradient.device != value.device:
        given = f"{tuple(gradient.shape)} on {gradient.device}"
        raise InputError(
            f"deformable attention: expected a gradient {expected} on {value.device}, got {given}."
        )
    tensors = _computable(value, locations, weights)
    found: Tensors = _operator_backward(gradient.to(tensors[0].dtype), *tensors, extents)
    return found[0].to(value.dtype), found[1].to(locations.dtype), found[2].to(weights.dtype)


def deformable_attention_path(device: torch.device, *dtypes: torch.dtype) -> str:
    """Return what computes for tensors of these dtypes: "numba", "triton" or "pytorch".

    Raises:
        InputError: the environment variable has an unknown value, or asks for a package that is
            not installed.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "pytorch", "triton"):
        allowed = "Allowed: pytorch, triton, or leave it unset."
        raise InputError(f"The environment variable {VARIABLE} is '{wanted}'. {allowed}")
    # the kernels compute in float32
    if wanted == "pytorch" or torch.float64 in dtypes:
        return "pytorch"
    if device.type == "cpu":
        return "numba"
    if device.type != "cuda":
        return "pytorch"
    if wanted == "":
        path: str = path_on_cuda(device, *dtypes)
        return path
    if not _has_triton():
        raise InputError(
            f"The environment variable {VARIABLE} asks for triton, which is not installed. "
            "Install it, or leave the variable unset."
        )
    return "triton"


def _kernels(value: Tensor) -> ModuleType:
    """Return the module whose ``forward`` and ``backward`` compute for tensors like this."""
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
    return deformable_attention_pytorch


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


@torch.library.custom_op(OPERATOR, mutates_args=())
def _operator(value: Tensor, locations: Tensor, weights: Tensor, extents: list[int]) -> Tensor:
    """Compute the output.

    Args:
        value: like ``locations`` and ``weights``, from :func:`_computable`.
        locations: the points.
        weights: the attention weights.
        extents: height and width of each level in turn.
    """
    output: Tensor = _kernels(value).forward(value, locations, weights, _pairs(extents))
    return output


@torch.library.custom_op(f"{OPERATOR}_backward", mutates_args=())
def _operator_backward(
    gradient: Tensor, value: Tensor, locations: Tensor, weights: Tensor, extents: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    kernels = _kernels(value)
    found: Tensors = kernels.backward(gradient, value, locations, weights, _pairs(extents))
    return found


@_operator.register_fake
def _(value: Tensor, locations: Tensor, weights: Tensor, extents: list[int]) -> Tensor:
    return value.new_empty(value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])


@_operator_backward.register_fake
def _(
    gradient: Tensor, value: Tensor, locations: Tensor, weights: Tensor, extents: list[int]
) -> Tensors:
    return (
        value.new_empty(value.shape),
        locations.new_empty(locations.shape),
        weights.new_empty(weights.shape),
    )


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, list[int]], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.extents = inputs[3]


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    return *_operator_backward(gradient, *ctx.saved_tensors, ctx.extents), None


_operator.register_autograd(_differentiate, setup_context=_remember)


def _computable(*tensors: Tensor) -> Tensors:
    """Return value, locations and weights in a common dtype, float32 at least.

    The Triton kernels widen what they have loaded, so for them the tensors stay as they are.
    """
    dtypes = [tensor.dtype for tensor in tensors]
    value, locations, weights = tensors
    if deformable_attention_path(value.device, *dtypes) == "triton":
        return value, locations, weights
    dtype = reduce(torch.promote_types, dtypes, torch.float32)
    return value.to(dtype), locations.to(dtype), weights.to(dtype)


def _pairs(extents: list[int]) -> list[tuple[int, int]]:
    return list(zip(extents[::2], extents[1::2], strict=True))


def _checked_extents(
    value: Tensor, shapes: Sequence[tuple[int, int]], locations: Tensor, weights: Tensor
) -> list[int]:
    """Return height and width of each level in turn, after checking the arguments.

    Raises:
        InputError: they do not fit together.
    """
    sizes = [(int(height), int(width)) for height, width in shapes]
    problem = _problem(value, sizes, locations, weights)
    if problem:
        raise InputError(
            f"deformable attention: {problem}. Given: value {tuple(value.shape)}, "
            f"locations {tuple(locations.shape)}, weights {tuple(weights.shape)}, shapes {sizes}."
        )
    return [extent for size in sizes for extent in size]


def _problem(
    value: Tensor, sizes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> str | None:
    """Return why the arguments do not fit together; None if they do."""
    if (value.dim(), locations.dim(), weights.dim()) != (4, 6, 5):
        return "expected value B×S×M×D, locations B×Q×M×L×P×2, weights B×Q×M×L×P"
    if min(map(min, sizes), default=0) < 0:
        return "heights and widths cannot be negative"
    cells = sum(height * width for height, width in sizes)
    if cells != value.shape[1]:
        return f"the levels have {cells} cells, value has {value.shape[1]}"
    if locations.shape != (*weights.shape, 2):
        return "locations must be weights' shape with a last axis of 2 (x, y)"
    images, _, heads, _ = value.shape
    queries, points = weights.shape[1], weights.shape[4]
    if weights.shape != (images, queries, heads, len(sizes), points):
        return "value, weights and shapes must agree on the images, heads and levels"
    tensors = (value, locations, weights)
    if not all(tensor.is_floating_point() for tensor in tensors):
        return "all three tensors must be floating-point"
    devices = [str(tensor.device) for tensor in tensors]
    if len(set(devices)) > 1:
        return f"the tensors lie on {', '.join(devices)}; move them to one device"
    return None
