"""Multi-scale deformable attention on the CPU in float32: compiled forward and backward.

Import it where it is used, not at the head of a module: it brings numba. Letters: B images, S cells of all levels
together, M heads, D numbers per head, Q queries, L levels, P points.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from encoder_ablations.utils.kernels import compiled, in_parallel

HALF = np.float32(0.5)
ONE = np.float32(1)
ROWS = 128
"""Queries per piece of work in the forward."""


def forward(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]
) -> Tensor:
    """See ``deformable_attention`` in the module of that name; all float32 on the CPU."""
    batch, _, heads, dim = value.shape
    queries = locations.shape[1]
    output = value.new_empty(batch, queries, heads, dim)
    inputs = [tensor.detach().contiguous().numpy() for tensor in (value, locations, weights)]
    rows_of_levels = [(*shape, start) for shape, start in zip(shapes, _starts(shapes), strict=True)]
    levels = np.array(rows_of_levels, np.int64).reshape(-1, 3)
    result = output.numpy()

    def rows(first: int, last: int) -> None:
        _forward_rows(*inputs, levels, result, first, last)

    in_parallel(rows, batch * queries, ROWS)
    return output.flatten(2)


def backward(
    gradient: Tensor,
    value: Tensor,
    locations: Tensor,
    weights: Tensor,
    shapes: Sequence[tuple[int, int]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to value, locations and weights; gradient: B×Q×(M·D), all float32 on the CPU.

    One piece of work is one level of one head of one image: what it writes is its own, so that nothing is added up by
    two threads and the result is the same on every call.
    """
    batch, _, heads, dim = value.shape
    inputs = [tensor.detach().numpy() for tensor in (value, locations, weights)]
    outputs = [tensor.new_zeros(tensor.shape) for tensor in (value, locations, weights)]
    results = [tensor.numpy() for tensor in outputs]
    upstream = gradient.detach().reshape(batch, locations.shape[1], heads, dim).numpy()
    starts = _starts(shapes)

    def pieces(first: int, last: int) -> None:
        for piece in range(first, last):
            image, rest = divmod(piece, heads * len(shapes))
            head, level = divmod(rest, len(shapes))
            height, width = shapes[level]
            cells = slice(starts[level], starts[level] + height * width)
            # Copies: cells and queries of one head lie far apart, and the caches would hold little of them.
            places = [
                (image, cells, head),
                (image, slice(None), head, level),
                (image, slice(None), head, level),
            ]
            parts = [array[place].copy() for array, place in zip(inputs, places, strict=True)]
            found = [np.zeros_like(part) for part in parts]
            if height and width:
                _backward_level(upstream[image, :, head].copy(), *parts, height, width, *found)
            for array, place, part in zip(results, places, found, strict=True):
                array[place] = part

    in_parallel(pieces, batch * heads * len(shapes), 1)
    return outputs[0], outputs[1], outputs[2]


def _starts(shapes: Sequence[tuple[int, int]]) -> list[int]:
    """First cell of each level."""
    return [sum(height * width for height, width in shapes[:level]) for level in range(len(shapes))]


@compiled("contract")
def _forward_rows(
    value: np.ndarray,
    locations: np.ndarray,
    weights: np.ndarray,
    levels: np.ndarray,
    output: np.ndarray,
    first: int,
    last: int,
) -> None:
    """B×S×M×D, B×Q×M×L×P×2, B×Q×M×L×P, L×3 (height, width, start) -> rows first..last of output B·Q×M×D."""
    _, queries, heads, _, points, _ = locations.shape
    for row in range(first, last):
        b, q = row // queries, row % queries
        for m in range(heads):
            total = output[b, q, m]
            total[:] = 0
            for level in range(levels.shape[0]):
                height, width, start = levels[level]
                if height == 0 or width == 0:
                    continue
                for p in range(points):
                    x, y = locations[b, q, m, level, p, 0], locations[b, q, m, level, p, 1]
                    _add_sample(
                        value[b], m, start, height, width, x, y, weights[b, q, m, level, p], total
                    )


@compiled("contract", inline=True)
def _add_sample(
    value: np.ndarray,
    head: int,
    start: int,
    height: int,
    width: int,
    at_x: float,
    at_y: float,
    weight: float,
    total: np.ndarray,
) -> None:
    """Adds weight × the bilinear sample at (at_x, at_y) in 0..1 of one level of value S×M×D to total D."""
    x = at_x * np.float32(width) - HALF
    y = at_y * np.float32(height) - HALF
    if not (x > -1 and y > -1 and x < width and y < height):
        # Zero times the weight, or NaN where the position is not finite, as in grid_sample: NaN must not get lost.
        nothing = weight * ((x - x) + (y - y))
        if nothing != 0:
            for d in range(total.shape[0]):
                total[d] += nothing
        return
    left, upper = np.floor(x), np.floor(y)
    dx, dy = x - left, y - upper
    j, i = int(left), int(upper)
    w00, w01 = weight * (ONE - dy) * (ONE - dx), weight * (ONE - dy) * dx
    w10, w11 = weight * dy * (ONE - dx), weight * dy * dx
    cell = start + i * width + j
    below = cell + width
    if i >= 0 and j >= 0 and i + 1 < height and j + 1 < width:
        c00, c01, c10, c11 = (
            value[cell, head],
            value[cell + 1, head],
            value[below, head],
            value[below + 1, head],
        )
        for d in range(total.shape[0]):
            total[d] += (w00 * c00[d] + w01 * c01[d]) + (w10 * c10[d] + w11 * c11[d])
        return
    if i >= 0 and j >= 0:
        _add(total, w00, value[cell, head])
    if i >= 0 and j + 1 < width:
        _add(total, w01, value[cell + 1, head])
    if i + 1 < height and j >= 0:
        _add(total, w10, value[below, head])
    if i + 1 < height and j + 1 < width:
        _add(total, w11, value[below + 1, head])


@compiled("contract", inline=True)
def _add(total: np.ndarray, factor: float, vector: np.ndarray) -> None:
    for d in range(total.shape[0]):
        total[d] += factor * vector[d]


@compiled("contract")
def _backward_level(
    upstream: np.ndarray,
    cells: np.ndarray,
    locations: np.ndarray,
    weights: np.ndarray,
    height: int,
    width: int,
    grad_cells: np.ndarray,
    grad_locations: np.ndarray,
    grad_weights: np.ndarray,
) -> None:
    """Q×D, h·w×D, Q×P×2, Q×P -> the three gradients, in arrays like cells (zeros at first), locations and weights."""
    columns, rows = np.float32(width), np.float32(height)
    for q in range(locations.shape[0]):
        for p in range(locations.shape[1]):
            weight = weights[q, p]
            x = locations[q, p, 0] * columns - HALF
            y = locations[q, p, 1] * rows - HALF
            if not (x > -1 and y > -1 and x < columns and y < rows):
                nothing = (x - x) + (y - y)  # NaN where the position is not finite, see _add_sample
                grad_weights[q, p] = nothing
                grad_locations[q, p, 0] = weight * nothing
                grad_locations[q, p, 1] = weight * nothing
                continue
            left, upper = np.floor(x), np.floor(y)
            dx, dy = x - left, y - upper
            j, i = int(left), int(upper)
            cell = i * width + j
            ex, ey = ONE - dx, ONE - dy
            s00 = s01 = s10 = s11 = np.float32(0)
            if i >= 0 and j >= 0:
                s00 = _pull(upstream[q], weight * ey * ex, cells[cell], grad_cells[cell])
            if i >= 0 and j + 1 < width:
                s01 = _pull(upstream[q], weight * ey * dx, cells[cell + 1], grad_cells[cell + 1])
            if i + 1 < height and j >= 0:
                s10 = _pull(
                    upstream[q], weight * dy * ex, cells[cell + width], grad_cells[cell + width]
                )
            if i + 1 < height and j + 1 < width:
                s11 = _pull(
                    upstream[q],
                    weight * dy * dx,
                    cells[cell + width + 1],
                    grad_cells[cell + width + 1],
                )
            grad_weights[q, p] = ey * (ex * s00 + dx * s01) + dy * (ex * s10 + dx * s11)
            grad_locations[q, p, 0] = weight * columns * (ey * (s01 - s00) + dy * (s11 - s10))
            grad_locations[q, p, 1] = weight * rows * (ex * (s10 - s00) + dx * (s11 - s01))


@compiled(
    "contract", "reassoc", inline=True
)  # "reassoc" lets the sum use vector registers; NaN stays NaN
def _pull(
    upstream: np.ndarray, factor: float, corner: np.ndarray, grad_corner: np.ndarray
) -> np.float32:
    """One corner's share: adds factor × upstream to its gradient and returns upstream · corner (all D numbers)."""
    dot = np.float32(0)
    for d in range(upstream.shape[0]):
        dot += upstream[d] * corner[d]
        grad_corner[d] += factor * upstream[d]
    return dot
