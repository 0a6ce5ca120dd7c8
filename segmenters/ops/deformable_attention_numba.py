"""Multi-scale deformable attention on the CPU in float32: compiled forward and backward.

Import it where it is used, not at the head of a module: it brings numba. Letters: B images, S cells
of all levels together, M heads, D numbers per head, Q queries, L levels, P points. A level's cell
in row i and column j covers the unit square around (j, i), so that 0..1 of a level w cells wide is
-0.5..w-0.5.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from torch import Tensor

from encoder_ablations.utils.kernels import compiled, in_parallel

Shapes = Sequence[tuple[int, int]]
HALF = np.float32(0.5)
ONE = np.float32(1)
ROWS = 128
"""Queries per piece of work in the forward."""


class _Level(NamedTuple):
    """A level with cells: its number, its size, and its first cell among those of all levels."""

    number: int
    height: int
    width: int
    start: int


def forward(value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
    """Return the weighted samples B×Q×(M·D), all float32 on the CPU.

    Args:
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        shapes: (height, width) of each level.
    """
    batch, _, heads, dim = value.shape
    queries = locations.shape[1]
    output = value.new_empty(batch, queries, heads, dim)
    inputs = [tensor.detach().contiguous().numpy() for tensor in (value, locations, weights)]
    levels = np.array(_levels(shapes), np.int64).reshape(-1, len(_Level._fields))
    result = output.numpy()

    def rows(first: int, last: int) -> None:
        _forward_rows(*inputs, levels, result, first, last)

    in_parallel(rows, batch * queries, ROWS)
    return output.flatten(2)


def backward(
    gradient: Tensor, value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients to value, locations and weights, all float32 on the CPU.

    One piece of work is one level of one head of one image: what it writes is its own, so that
    nothing is added up by two threads and the result is the same on every call.

    Args:
        gradient: B×Q×(M·D), of the output of :func:`forward` for the other arguments.
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        shapes: (height, width) of each level.
    """
    batch, _, heads, dim = value.shape
    inputs = [tensor.detach().numpy() for tensor in (value, locations, weights)]
    outputs = [tensor.new_zeros(tensor.shape) for tensor in (value, locations, weights)]
    results = [tensor.numpy() for tensor in outputs]
    upstream = gradient.detach().reshape(batch, locations.shape[1], heads, dim).numpy()
    pieces = list(product(range(batch), range(heads), _levels(shapes)))

    def work(first: int, last: int) -> None:
        for image, head, level in pieces[first:last]:
            cells = slice(level.start, level.start + level.height * level.width)
            points = (image, slice(None), head, level.number)
            places = [(image, cells, head), points, points]
            # copies: the cells and queries of one head lie far apart, which caches suffer from
            own = [array[place].copy() for array, place in zip(inputs, places, strict=True)]
            found = [np.zeros_like(part) for part in own]
            size = (level.height, level.width, dim)
            own_cells, found_cells = own[0].reshape(size), found[0].reshape(size)
            own_upstream = upstream[image, :, head].copy()
            _backward_level(own_upstream, own_cells, *own[1:], found_cells, *found[1:])
            for array, place, part in zip(results, places, found, strict=True):
                array[place] = part

    in_parallel(work, len(pieces), 1)
    return outputs[0], outputs[1], outputs[2]


def _levels(shapes: Shapes) -> list[_Level]:
    """Return the levels that have cells."""
    levels, start = [], 0
    for number, (height, width) in enumerate(shapes):
        levels.append(_Level(number, height, width, start))
        start += height * width
    return [level for level in levels if level.height * level.width > 0]


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
    """Fill in rows first..last of the output, a row being one query of one image.

    Args:
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        levels: the rows of :class:`_Level`.
        output: B×Q×M×D.
        first: index of the first row.
        last: index after the last row.
    """
    _, queries, heads, _, points, _ = locations.shape
    for row in range(first, last):
        b, q = row // queries, row % queries
        for m in range(heads):
            total = output[b, q, m]
            total[:] = 0
            # eq. 3: the sum over levels and points
            for number in range(levels.shape[0]):
                level, height, width, start = levels[number]
                for p in range(points):
                    x = locations[b, q, m, level, p, 0] * np.float32(width) - HALF
                    y = locations[b, q, m, level, p, 1] * np.float32(height) - HALF
                    weight = weights[b, q, m, level, p]
                    _add_sample(value[b], m, start, height, width, x, y, weight, total)


@compiled(inline=True)
def _outside(x: float, y: float, height: int, width: int) -> bool:
    """Return whether none of the four cells around (x, y) exists; NaN is outside."""
    return not (x > -1 and y > -1 and x < width and y < height)


@compiled(inline=True)
def _exists(i: int, j: int, height: int, width: int) -> bool:
    return i >= 0 and j >= 0 and i < height and j < width


@compiled(inline=True)
def _zero_or_nan(x: float, y: float) -> float:
    """Return 0, or NaN where the position is not finite, as in ``grid_sample``."""
    return (x - x) + (y - y)


@compiled("contract", inline=True)
def _add_sample(
    value: np.ndarray,
    head: int,
    start: int,
    height: int,
    width: int,
    x: float,
    y: float,
    weight: float,
    total: np.ndarray,
) -> None:
    """Add weight × the bilinear sample at (x, y) of one level of value S×M×D to total D."""
    if _outside(x, y, height, width):
        zero = weight * _zero_or_nan(x, y)
        for d in range(total.shape[0]):
            total[d] += zero
        return
    # the upper left corner, and the shares of the four corners
    left, upper = np.floor(x), np.floor(y)
    dx, dy = x - left, y - upper
    j, i = int(left), int(upper)
    w00, w01 = weight * (ONE - dy) * (ONE - dx), weight * (ONE - dy) * dx
    w10, w11 = weight * dy * (ONE - dx), weight * dy * dx
    cell = start + i * width + j
    below = cell + width
    # the usual case in one loop: all four corners lie inside the map
    if _exists(i, j, height - 1, width - 1):
        c00, c01 = value[cell, head], value[cell + 1, head]
        c10, c11 = value[below, head], value[below + 1, head]
        for d in range(total.shape[0]):
            total[d] += (w00 * c00[d] + w01 * c01[d]) + (w10 * c10[d] + w11 * c11[d])
        return
    # at the border keep the corners that lie inside the map
    if _exists(i, j, height, width):
        _add(total, w00, value[cell, head])
    if _exists(i, j + 1, height, width):
        _add(total, w01, value[cell + 1, head])
    if _exists(i + 1, j, height, width):
        _add(total, w10, value[below, head])
    if _exists(i + 1, j + 1, height, width):
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
    grad_cells: np.ndarray,
    grad_locations: np.ndarray,
    grad_weights: np.ndarray,
) -> None:
    """Fill in the gradients of one level of one head of one image.

    Args:
        upstream: Q×D.
        cells: h×w×D.
        locations: Q×P×2.
        weights: Q×P.
        grad_cells: h×w×D, zeros at first.
        grad_locations: Q×P×2.
        grad_weights: Q×P.
    """
    height, width = np.float32(cells.shape[0]), np.float32(cells.shape[1])
    for q in range(locations.shape[0]):
        for p in range(locations.shape[1]):
            x = locations[q, p, 0] * width - HALF
            y = locations[q, p, 1] * height - HALF
            of_weight, of_x, of_y = _backward_point(
                x, y, weights[q, p], upstream[q], cells, grad_cells
            )
            grad_weights[q, p] = of_weight
            # from steps of the map to 0..1 of its extent
            grad_locations[q, p, 0] = weights[q, p] * width * of_x
            grad_locations[q, p, 1] = weights[q, p] * height * of_y


@compiled("contract", inline=True)
def _backward_point(
    x: float,
    y: float,
    weight: float,
    upstream: np.ndarray,
    cells: np.ndarray,
    grad_cells: np.ndarray,
) -> tuple[float, float, float]:
    """Add one point's share to the cells' gradients, and return its own.

    Returns:
        The derivatives of sample · upstream: by the weight, and by x and y for a weight of 1.
    """
    if _outside(x, y, cells.shape[0], cells.shape[1]):
        zero = _zero_or_nan(x, y)
        return zero, zero, zero
    left, upper = np.floor(x), np.floor(y)
    dx, dy = x - left, y - upper
    ex, ey = ONE - dx, ONE - dy
    j, i = int(left), int(upper)
    # the corners' products with the gradient; a corner outside the map counts as 0
    s00 = _pull(i, j, weight * ey * ex, upstream, cells, grad_cells)
    s01 = _pull(i, j + 1, weight * ey * dx, upstream, cells, grad_cells)
    s10 = _pull(i + 1, j, weight * dy * ex, upstream, cells, grad_cells)
    s11 = _pull(i + 1, j + 1, weight * dy * dx, upstream, cells, grad_cells)
    # the bilinear sample, and its derivatives by x and y
    of_weight = ey * (ex * s00 + dx * s01) + dy * (ex * s10 + dx * s11)
    of_x = ey * (s01 - s00) + dy * (s11 - s10)
    of_y = ex * (s10 - s00) + dx * (s11 - s01)
    return of_weight, of_x, of_y


# "reassoc" lets the sum use vector registers; NaN stays NaN
@compiled("contract", "reassoc", inline=True)
def _pull(
    i: int,
    j: int,
    factor: float,
    upstream: np.ndarray,
    cells: np.ndarray,
    grad_cells: np.ndarray,
) -> np.float32:
    """Add factor × upstream to the gradient of cell (i, j), and return upstream · cell.

    Outside the map nothing is added, and 0 returned.
    """
    dot = np.float32(0)
    if _exists(i, j, cells.shape[0], cells.shape[1]):
        cell, grad_cell = cells[i, j], grad_cells[i, j]
        for d in range(upstream.shape[0]):
            dot += upstream[d] * cell[d]
            grad_cell[d] += factor * upstream[d]
    return dot
