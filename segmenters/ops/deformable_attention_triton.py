"""Multi-scale deformable attention on CUDA in float32, float16 and bfloat16: Triton kernels, forward and backward.

So far they were run only through Triton's interpreter on the CPU, and compiled for GPUs of compute capability 7.5, 8.0
and 9.0, but never run on one: their speed is unknown. So they are used only where the environment variable
``DEFORMABLE_ATTENTION`` is "triton".

Import it where it is used, not at the head of a module: it needs triton. Letters: B images, S cells of all levels
together, M heads, D numbers per head, Q queries, L levels, P points. One program handles some queries of one head of
one image. Sums are made in float32; the gradients to value are added up by atomics, in an order that varies.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
from torch import Tensor
from triton import language as tl

ROWS = 16
"""Queries per program."""


def forward(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]
) -> Tensor:
    """See :func:`encoder_ablations.segmenters.ops.deformable_attention.deformable_attention`; all on one device."""
    batch, cells, heads, dim = value.shape
    _, queries, _, levels, points = weights.shape
    output = value.new_empty(batch, queries, heads * dim)
    if output.numel():
        tensors = (tensor.contiguous() for tensor in (value, locations, weights))
        sizes = _sizes(tuple(shapes), value.device)
        numbers = (cells, queries, heads, levels, points)
        with torch.cuda.device_of(value):
            _forward[_grid(batch, queries, heads)](
                *tensors, sizes, output, *numbers, **_blocks(dim)
            )
    return output


def backward(
    gradient: Tensor,
    value: Tensor,
    locations: Tensor,
    weights: Tensor,
    shapes: Sequence[tuple[int, int]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to value, locations and weights, each of its tensor's dtype; gradient: B×Q×(M·D)."""
    batch, cells, heads, dim = value.shape
    _, queries, _, levels, points = weights.shape
    to_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
    to_locations, to_weights = (
        locations.new_zeros(locations.shape),
        weights.new_zeros(weights.shape),
    )
    if gradient.numel():
        tensors = (tensor.contiguous() for tensor in (gradient, value, locations, weights))
        sizes = _sizes(tuple(shapes), value.device)
        results = (to_value, to_locations, to_weights)
        numbers = (cells, queries, heads, levels, points)
        with torch.cuda.device_of(value):
            _backward[_grid(batch, queries, heads)](
                *tensors, sizes, *results, *numbers, **_blocks(dim)
            )
    return to_value.to(value.dtype), to_locations, to_weights


@lru_cache(maxsize=64)
def _sizes(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """L×3: height, width and first cell of each level."""
    rows, start = [], 0
    for height, width in shapes:
        rows.append((height, width, start))
        start += height * width
    return torch.tensor(rows, dtype=torch.int32).reshape(-1, 3).to(device)


def _grid(batch: int, queries: int, heads: int) -> tuple[int, int]:
    return triton.cdiv(queries, ROWS), batch * heads


def _blocks(dim: int) -> dict[str, int]:
    return {"DIM": dim, "BLOCK": triton.next_power_of_2(dim), "ROWS": ROWS, "num_warps": 4}


@triton.jit
def _queries(queries: tl.tensor, heads: tl.tensor, ROWS: tl.constexpr) -> tuple[tl.tensor, ...]:
    """What a program handles: an image and a head of it; which of ROWS queries exist, and their places in B×Q×M."""
    image, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    q = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    return image, head, q < queries, (image.to(tl.int64) * queries + q) * heads + head


@triton.jit
def _filled(rows: tl.tensor, d: tl.tensor, DIM: tl.constexpr) -> tl.tensor:
    """Which numbers of a block exist, ROWS×BLOCK: those of the rows that do, up to DIM."""
    return rows[:, None] & (d < DIM)[None, :]


@triton.jit
def _corner(
    corner: tl.constexpr,
    base: tl.tensor,
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
    """One of the four cells around positions: where it lies and what of it exists, ROWS×BLOCK; shares in y and x."""
    row, column = i + corner // 2, j + corner % 2
    exists = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    cell = tl.where(exists, row * width + column, 0)
    where = base + cell.to(tl.int64)[:, None] * stride + d[None, :]
    vertical, horizontal = dy if corner // 2 else 1 - dy, dx if corner % 2 else 1 - dx
    return where, _filled(exists, d, DIM), vertical, horizontal


@triton.jit
def _place(
    locations: tl.tensor,
    at: tl.tensor,
    rows: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
) -> tuple[tl.tensor, ...]:
    """Positions in cells: whether any of their corners can exist, upper left corner, fractions, 0 or NaN."""
    x = tl.load(locations + 2 * at, mask=rows, other=0).to(tl.float32) * width - 0.5
    y = tl.load(locations + 2 * at + 1, mask=rows, other=0).to(tl.float32) * height - 0.5
    inside = rows & (x > -1) & (y > -1) & (x < width) & (y < height)
    nothing = tl.where(
        inside, 0.0, (x - x) + (y - y)
    )  # NaN where not finite, as grid_sample has it
    x, y = (
        tl.where(inside, x, 0.0),
        tl.where(inside, y, 0.0),
    )  # huge numbers must not become integers
    left, upper = tl.floor(x), tl.floor(y)
    return inside, upper.to(tl.int32), left.to(tl.int32), y - upper, x - left, nothing


@triton.jit
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
    for level in range(levels):
        height, width = tl.load(sizes + 3 * level), tl.load(sizes + 3 * level + 1)
        if height * width > 0:
            first = image.to(tl.int64) * cells + tl.load(sizes + 3 * level + 2)
            base = value + first * stride + head * DIM
            for point in range(points):
                at = (row * levels + level) * points + point
                inside, i, j, dy, dx, nothing = _place(locations, at, rows, height, width)
                weight = tl.load(weights + at, mask=rows, other=0).to(tl.float32)
                for corner in tl.static_range(4):
                    where, here, vertical, horizontal = _corner(
                        corner, base, i, j, dy, dx, inside, height, width, stride, d, DIM
                    )
                    factor = vertical * horizontal * weight
                    total += factor[:, None] * tl.load(where, mask=here, other=0).to(tl.float32)
                total += (weight * nothing)[:, None]
    target = output + row[:, None] * DIM + d[None, :]
    tl.store(target, total.to(output.dtype.element_ty), mask=_filled(rows, d, DIM))


@triton.jit
def _backward(
    gradient: tl.tensor,
    value: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
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
        height, width = tl.load(sizes + 3 * level), tl.load(sizes + 3 * level + 1)
        if height * width > 0:
            first = image.to(tl.int64) * cells + tl.load(sizes + 3 * level + 2)
            offset = first * stride + head * DIM
            for point in range(points):
                at = (row * levels + level) * points + point
                inside, i, j, dy, dx, nothing = _place(locations, at, rows, height, width)
                weight = tl.load(weights + at, mask=rows, other=0).to(tl.float32)
                of_weight, of_x, of_y = nothing, nothing, nothing
                for corner in tl.static_range(4):
                    where, here, vertical, horizontal = _corner(
                        corner, offset, i, j, dy, dx, inside, height, width, stride, d, DIM
                    )
                    tl.atomic_add(
                        to_value + where,
                        (weight * vertical * horizontal)[:, None] * upstream,
                        mask=here,
                    )
                    dot = tl.sum(
                        tl.load(value + where, mask=here, other=0).to(tl.float32) * upstream, 1
                    )
                    of_weight += vertical * horizontal * dot
                    of_x += vertical * (dot if corner % 2 else -dot)
                    of_y += horizontal * (dot if corner // 2 else -dot)
                tl.store(to_weights + at, of_weight.to(to_weights.dtype.element_ty), mask=rows)
                of_x, of_y = of_x * weight * width, of_y * weight * height
                tl.store(to_locations + 2 * at, of_x.to(to_locations.dtype.element_ty), mask=rows)
                tl.store(
                    to_locations + 2 * at + 1, of_y.to(to_locations.dtype.element_ty), mask=rows
                )
