"""Compare kernels of deformable attention with plain PyTorch, on small inputs.

The inputs are the same every time and draw nothing from PyTorch's generators, so that a check in
the middle of a run changes none of its random numbers.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from encoder_ablations.segmenters.ops import deformable_attention_pytorch

TOLERANCE = {torch.float32: 5e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest difference from float64, as a share of the largest number of a tensor (at least of 1)."""
NAMES = ("output", "gradient to value", "gradient to locations", "gradient to weights")


class Case(NamedTuple):
    """Sizes of one comparison: levels, queries, heads M, numbers per head D and points P."""

    shapes: tuple[tuple[int, int], ...]
    queries: int = 20
    heads: int = 2
    dim: int = 17
    points: int = 3


SMALL = (
    Case(((4, 6), (3, 2), (1, 1))),
    # the powers of two of a head's layer
    Case(((8, 8), (4, 4), (2, 2)), queries=32, dim=32, points=4),
    # empty levels
    Case(((0, 4), (3, 2), (2, 0)), dim=1, heads=1, points=1),
)
"""Compared in every precision."""
HUGE = Case(((509, 515), (2, 3)), heads=1, dim=2)
"""More cells than 16 bits count. In float32 alone: half precision cannot name its cells."""


def find_problem(
    kernels: ModuleType,
    device: torch.device,
    dtype: torch.dtype,
    cases: Sequence[Case] | None = None,
) -> str | None:
    """Return why kernels cannot be used on a device for a dtype; None if they agree with PyTorch.

    Output and gradients are compared with PyTorch's in float64 on the CPU. Some locations lie
    outside of their level, are infinite or not a number.

    Args:
        kernels: a module with ``forward`` and ``backward``, as those of plain PyTorch.
        device: where the kernels compute.
        dtype: of value, locations and weights.
        cases: what is computed; None = :data:`SMALL`, and for float32 :data:`HUGE`.
    """
    if cases is None:
        cases = SMALL
        if dtype == torch.float32:
            cases = (*SMALL, HUGE)
    for case in cases:
        value, locations, weights, gradient = _inputs(case, dtype)
        expected = _expected(gradient, value, locations, weights, case.shapes)
        there = [each.to(device) for each in (value, locations, weights)]
        try:
            found = [kernels.forward(*there, case.shapes)]
            found += kernels.backward(gradient.to(device), *there, case.shapes)
        # a compiler and a driver may raise anything; the caller reports it and does without
        except Exception as error:  # noqa: BLE001
            first_line = str(error).strip().partition("\n")[0]
            return f"{type(error).__name__}: {first_line}"
        for name, ours, reference in zip(NAMES, found, expected, strict=True):
            if not _close(ours, reference, dtype):
                return f"wrong numbers ({name}) in {_name(dtype)} for levels {case.shapes}"
    return None


def _expected(
    gradient: Tensor,
    value: Tensor,
    locations: Tensor,
    weights: Tensor,
    shapes: Sequence[tuple[int, int]],
) -> list[Tensor]:
    """Return the output and the three gradients in float64."""
    value, weights, gradient = value.double(), weights.double(), gradient.double()
    locations = _within_integers(locations.double())
    output = deformable_attention_pytorch.forward(value, locations, weights, shapes)
    gradients = deformable_attention_pytorch.backward(gradient, value, locations, weights, shapes)
    return [output, *gradients]


def _inputs(case: Case, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return value, locations, weights and the gradient to the output, of two images."""
    cells = sum(height * width for height, width in case.shapes)
    sites = (2, case.queries, case.heads, len(case.shapes), case.points)
    value = _waves(2, cells, case.heads, case.dim)
    weights = _waves(*sites).abs()
    gradient = _waves(2, case.queries, case.heads * case.dim)
    locations = torch.empty(*sites, 2)
    for level, (height, width) in enumerate(case.shapes):
        for axis, extent in enumerate((width, height)):
            # up to two cells outside, and away from the borders of cells: the gradient jumps there
            steps = _waves(*sites[:3], case.points).add(1.1 + axis).mul(7919).floor()
            cell = steps.remainder(extent + 4) - 2
            locations[:, :, :, level, :, axis] = (cell + 0.75) / max(extent, 1)
    bad = torch.tensor([1e30, -1e30, torch.inf, torch.nan])
    locations[0, : len(bad), 0, :, 0] = bad[:, None, None]
    return tuple(each.to(dtype) for each in (value, locations, weights, gradient))


def _within_integers(locations: Tensor) -> Tensor:
    """Return locations of which those far outside lie nearer.

    PyTorch turns positions into integers, which larger numbers overflow. What it computes for them
    is then wrong: outside of a level lie zeros.
    """
    return locations.where(~locations.isfinite() | (locations.abs() < 1e6), 9.0)


def _waves(*shape: int) -> Tensor:
    """Return numbers in -1..1 that do not repeat."""
    count = torch.Size(shape).numel()
    return torch.arange(count, dtype=torch.float64).mul(1.7).sin().view(shape).float()


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Return whether numbers agree, and are not a number at the same places."""
    numbers = found.cpu().double()
    if found.dtype != dtype or found.shape != expected.shape:
        return False
    if not torch.equal(numbers.isnan(), expected.isnan()):
        return False
    if not expected.numel():
        return True
    finite = expected.nan_to_num(0.0)
    largest = max(1.0, float(finite.abs().max()))
    difference = float((numbers.nan_to_num(0.0) - finite).abs().max())
    return difference <= TOLERANCE[dtype] * largest


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
