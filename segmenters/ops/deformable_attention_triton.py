"""Multi-scale deformable attention on CUDA in float32, float16 and bfloat16: Triton kernels.

So far they have run only through Triton's interpreter on the CPU, and were compiled for GPUs of
compute capability 7.5, 8.0 and 9.0, but have never run on one: their speed is unknown. So every
device compares them with PyTorch first, see :mod:`.cuda_choice`.

Import it where it is used, not at the head of a module: it needs triton. Letters: B images, S cells
of all levels together, M heads, D numbers per head, Q queries, L levels, P points. One program
handles some queries of one head of one image. Sums are made in float32; the gradients to value are
added up by atomics, in an order that varies.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

ROWS = 16
"""Queries per program."""

kernel: Callable[..., Any] = triton.jit


def forward(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]
) -> Tensor:
    """Return the weighted samples B×Q×(M·D), in value's dtype.

    Args:
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        shapes: (height, width) of each level.
    """
    batch, _, heads, dim = value.shape
    output = value.new_empty(batch, weights.shape[1], heads * dim)
    if output.numel():
        _launch(_forward, (value, locations, weights), shapes, (output,))
    return output


def backward(
    gradient: Tensor,
    value: Tensor,
    locations: Tensor,
    weights: Tensor,
    shapes: Sequence[tuple[int, int]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients to value, locations and weights, each of its tensor's dtype.

    Args:
        gradient: B×Q×(M·D), of the output of :func:`forward` for the other arguments.
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        shapes: (height, width) of each level.
    """
    # float32, because many queries add to one cell
    to_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
    to_locations = locations.new_zeros(locations.shape)
    to_weights = weights.new_zeros(weights.shape)
    if gradient.numel():
        results = (to_value, to_locations, to_weights)
        _launch(_backward, (value, locations, weights, gradient), shapes, results)
    return to_value.to(value.dtype), to_locations, to_weights


def _launch(
    function: Any,
    tensors: tuple[Tensor, ...],
    shapes: Sequence[tuple[int, int]],
    results: tuple[Tensor, ...],
) -> None:
    """Run a kernel, a program for every ``ROWS`` queries of a head of an image.

    Args:
        function: the kernel.
        tensors: value, locations and weights first.
        shapes: (height, width) of each level.
        results: what the kernel fills in.
    """
    batch, cells, heads, dim = tensors[0].shape
    _, queries, _, levels, points = tensors[2].shape
    grid = (triton.cdiv(queries, ROWS), batch * heads)
    inputs = [tensor.contiguous() for tensor in tensors]
    sizes = _sizes(tuple(shapes), tensors[0].device)
    numbers = (cells, queries, heads, levels, points)
    blocks = {"DIM": dim, "BLOCK": triton.next_power_of_2(dim), "ROWS": ROWS, "num_warps": 4}
    with torch.cuda.device(tensors[0].get_device()):
        function[grid](*inputs, sizes, *results, *numbers, **blocks)


@lru_cache(maxsize=64)
def _sizes(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Return height, width and first cell of each level: L×3 int32."""
    rows, start = [], 0
    for height, width in shapes:
        rows.append((height, width, start))
        start += height * width
    return torch.tensor(rows, dtype=torch.int32).reshape(-1, 3).to(device)


@kernel
def _queries(queries: tl.tensor, heads: tl.tensor, ROWS: tl.constexpr) -> tuple[tl.tensor, ...]:
    """Return what a program handles.

    Returns:
        The image and the head; which of ROWS queries exist; their places in B×Q×M.
    """
    image, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    q = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    return image, head, q < queries, (image.to(tl.int64) * queries + q) * heads + head


@kernel
def _filled(rows: tl.tensor, d: tl.tensor, DIM: tl.constexpr) -> tl.tensor:
    """Return which numbers of a block exist, ROWS×BLOCK: those of the rows that do, up to DIM."""
    return rows[:, None] & (d < DIM)[None, :]


@kernel
def _level(
    sizes: tl.tensor,
    level: tl.tensor,
    image: tl.tensor,
    head: tl.tensor,
    cells: tl.tensor,
    stride: tl.tensor,
    DIM: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Return a level's height and width, and where its first cell lies in value B×S×M×D."""
    height, width = tl.load(sizes + 3 * level), tl.load(sizes + 3 * level + 1)
    first = image.to(tl.int64) * cells + tl.load(sizes + 3 * level + 2)
    return height, width, first * stride + head * DIM


@kernel
def _place(
    locations: tl.tensor,
    at: tl.tensor,
    rows: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
) -> tuple[tl.tensor, ...]:
    """Return where points lie among the cells of a level.

    Returns:
        Whether any of their corners can exist; row and column of the upper left corner; fractions
        in y and x; 0, or NaN where the position is not finite, as ``grid_sample`` has it.
    """
    x = tl.load(locations + 2 * at, mask=rows, other=0).to(tl.float32) * width - 0.5
    y = tl.load(locations + 2 * at + 1, mask=rows, other=0).to(tl.float32) * height - 0.5
    inside = rows & (x > -1) & (y > -1) & (x < width) & (y < height)
    zero = tl.where(inside, 0.0, (x - x) + (y - y))
    # huge numbers must not become integers
    x = tl.where(inside, x, 0.0)
    y = tl.where(inside, y, 0.0)
    left, upper = tl.floor(x), tl.floor(y)
    return inside, upper.to(tl.int32), left.to(tl.int32), y - upper, x - left, zero


@kernel
def _corner(
    lower: tl.constexpr,
    right: tl.constexpr,
    value: tl.tensor,
    offset: tl.tensor,
    i: tl.tensor,
    j: tl.tensor,
    dy: tl.tensor,
    dx: tl.tensor,
    inside: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    stride: tl.tensor,
    d: tl.tensor,
    DIM: tl.constexpr,
) -> tuple[tl.tensor, ...]:
    """Read one of the four cells around points: the upper or lower, left or right one.

    Returns:
        Where it lies in value, which of its numbers exist, and the numbers, each ROWS×BLOCK; its
        shares in y and x.
    """
    row, column = i + lower, j + right
    # keep corners that lie inside the map
    exists = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    cell = tl.where(exists, row * width + column, 0)
    where = offset + cell.to(tl.int64)[:, None] * stride + d[None, :]
    here = _filled(exists, d, DIM)
    numbers = tl.load(value + where, mask=here, other=0).to(tl.float32)
    vertical = dy if lower else 1 - dy
    horizontal = dx if right else 1 - dx
    return where, here, numbers, vertical, horizontal


@kernel
def _forward(
    value: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    sizes: tl.tensor,
    output: tl.tensor,
    cells: tl.tensor,
    queries: tl.tensor,
    heads: tl.tensor,
    levels: tl.tensor,
    points: tl.tensor,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    image, head, rows, row = _queries(queries, heads, ROWS)
    d, stride = tl.arange(0, BLOCK), heads * DIM
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    # eq. 3: the sum over levels and points
    for level in range(levels):
        height, width, offset = _level(sizes, level, image, head, cells, stride, DIM)
        if height * width > 0:
            for point in range(points):
                at = (row * levels + level) * points + point
                inside, i, j, dy, dx, zero = _place(locations, at, rows, height, width)
                weight = tl.load(weights + at, mask=rows, other=0).to(tl.float32)
                for corner in tl.static_range(4):
                    _, _, numbers, vertical, horizontal = _corner(
                        corner // 2, corner % 2, value, offset, i, j, dy, dx,
                        inside, height, width, stride, d, DIM,
                    )  # fmt: skip
                    total += (vertical * horizontal * weight)[:, None] * numbers
                total += (weight * zero)[:, None]
    target = output + row[:, None] * DIM + d[None, :]
    tl.store(target, total.to(output.dtype.element_ty), mask=_filled(rows, d, DIM))


@kernel
def _backward(
    value: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    gradient: tl.tensor,
    sizes: tl.tensor,
    to_value: tl.tensor,
    to_locations: tl.tensor,
    to_weights: tl.tensor,
    cells: tl.tensor,
    queries: tl.tensor,
    heads: tl.tensor,
    levels: tl.tensor,
    points: tl.tensor,
    DIM: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
) -> None:
    image, head, rows, row = _queries(queries, heads, ROWS)
    d, stride = tl.arange(0, BLOCK), heads * DIM
    given = gradient + row[:, None] * DIM + d[None, :]
    upstream = tl.load(given, mask=_filled(rows, d, DIM), other=0).to(tl.float32)
    for level in range(levels):
        height, width, offset = _level(sizes, level, image, head, cells, stride, DIM)
        if height * width > 0:
            for point in range(points):
                at = (row * levels + level) * points + point
                inside, i, j, dy, dx, zero = _place(locations, at, rows, height, width)
                weight = tl.load(weights + at, mask=rows, other=0).to(tl.float32)
                of_weight, of_x, of_y = zero, zero, zero
                for corner in tl.static_range(4):
                    where, here, numbers, vertical, horizontal = _corner(
                        corner // 2, corner % 2, value, offset, i, j, dy, dx,
                        inside, height, width, stride, d, DIM,
                    )  # fmt: skip
                    share = (weight * vertical * horizontal)[:, None] * upstream
                    # relaxed: sums are read only after the kernel has ended
                    tl.atomic_add(to_value + where, share, mask=here, sem="relaxed")
                    dot = tl.sum(numbers * upstream, 1)
                    # the bilinear sample, and its derivatives by x and y
                    of_weight += vertical * horizontal * dot
                    of_x += vertical * (dot if corner % 2 else -dot)
                    of_y += horizontal * (dot if corner // 2 else -dot)
                _store(to_weights, at, of_weight, rows)
                # from steps of the map to 0..1 of its extent
                _store(to_locations, 2 * at, of_x * weight * width, rows)
                _store(to_locations, 2 * at + 1, of_y * weight * height, rows)


@kernel
def _store(target: tl.tensor, at: tl.tensor, numbers: tl.tensor, rows: tl.tensor) -> None:
    """Write one number for each of the rows that exist, in the target's dtype."""
    tl.store(target + at, numbers.to(target.dtype.element_ty), mask=rows)
