"""Multi-scale deformable attention on the CPU in float32: compiled forward and backward.

Import it where it is used, not at the head of a module: it brings numba. Letters: B images, S cells
of all levels together, M heads, D numbers per head, Q queries, L levels, P points. A level's cell
in row i and column j covers the unit square around (j, i), so that 0..1 of a level w cells wide is
-0.5..w-0.5.

One piece of work is one head of one image. What it writes is its own, so that nothing is added up
by two threads and the result is the same on every call. Its inputs are copied first, because its
cells and queries lie far apart, which caches suffer from.

The copied maps have a border of zeros, two cells wide (S' cells of all levels together). So the
samples at the border and outside are computed like all others.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from encoder_ablations.segmenters.ops.padded_levels import (
    BORDER,
    aligned_copy,
    levels_with_cells,
    padded_cells,
    table,
    zeros,
)
from encoder_ablations.utils.kernels import compiled, in_parallel

Shapes = Sequence[tuple[int, int]]
HALF = np.float32(0.5)
ONE = np.float32(1)
NEXT = np.uint64(1)


def forward(value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
    """Return the weighted samples B×Q×(M·D), all float32 on the CPU.

    Args:
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        shapes: (height, width) of each level.
    """
    batch, _, heads, dim = value.shape
    output = value.new_empty(batch, locations.shape[1], heads, dim)
    result, levels = output.numpy(), levels_with_cells(shapes)
    inputs = [tensor.detach().numpy() for tensor in (value, locations, weights)]

    def work(first: int, last: int) -> None:
        for piece in range(first, last):
            image, head = divmod(piece, heads)
            cells, places, factors = [array[image, :, head] for array in inputs]
            own = [padded_cells(cells, levels), aligned_copy(places), aligned_copy(factors)]
            total = zeros(result.shape[1], dim)
            _forward_head(table(levels), *own, total)
            result[image, :, head] = total

    in_parallel(work, batch * heads, 1)
    return output.flatten(2)


def backward(
    gradient: Tensor, value: Tensor, locations: Tensor, weights: Tensor, shapes: Shapes
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients to value, locations and weights, all float32 on the CPU.

    Args:
        gradient: B×Q×(M·D), of the output of :func:`forward` for the other arguments.
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        shapes: (height, width) of each level.
    """
    batch, _, heads, dim = value.shape
    outputs = [tensor.new_empty(tensor.shape) for tensor in (value, locations, weights)]
    results, levels = [tensor.numpy() for tensor in outputs], levels_with_cells(shapes)
    inputs = [tensor.detach().numpy() for tensor in (value, locations, weights)]
    upstream = gradient.detach().reshape(batch, locations.shape[1], heads, dim).numpy()

    def work(first: int, last: int) -> None:
        for piece in range(first, last):
            image, head = divmod(piece, heads)
            cells, places, factors = [array[image, :, head] for array in inputs]
            own = [padded_cells(cells, levels), aligned_copy(places), aligned_copy(factors)]
            found = [zeros(*array.shape) for array in own]
            _backward_head(table(levels), aligned_copy(upstream[image, :, head]), *own, *found)
            to_cells, to_places, to_factors = [array[image, :, head] for array in results]
            for level in levels:
                level.plain(to_cells)[:] = level.inside(found[0])
            to_places[:], to_factors[:] = found[1:]

    in_parallel(work, batch * heads, 1)
    return outputs[0], outputs[1], outputs[2]


@compiled("contract")
def _forward_head(
    levels: np.ndarray,
    cells: np.ndarray,
    locations: np.ndarray,
    weights: np.ndarray,
    output: np.ndarray,
) -> None:
    """Add the samples of one head of one image to the output.

    Args:
        levels: see :func:`~.padded_levels.table`.
        cells: S'×D.
        locations: Q×L×P×2.
        weights: Q×L×P.
        output: Q×D.
    """
    for q in range(output.shape[0]):
        # eq. 3: the sum over levels and points
        for row in range(levels.shape[0]):
            number, height, width, _, corner = levels[row]
            extent = height, width, corner
            for p in range(weights.shape[2]):
                place, weight = locations[q, number, p], weights[q, number, p]
                _add_sample(extent, cells, place, weight, output[q])


@compiled("contract")
def _backward_head(
    levels: np.ndarray,
    upstream: np.ndarray,
    cells: np.ndarray,
    locations: np.ndarray,
    weights: np.ndarray,
    grad_cells: np.ndarray,
    grad_locations: np.ndarray,
    grad_weights: np.ndarray,
) -> None:
    """Fill in the gradients of one head of one image.

    Args:
        levels: see :func:`~.padded_levels.table`.
        upstream: Q×D.
        cells: S'×D.
        locations: Q×L×P×2.
        weights: Q×L×P.
        grad_cells: S'×D, zeros at first. The borders receive the gradients of their zeros.
        grad_locations: Q×L×P×2.
        grad_weights: Q×L×P.
    """
    for q in range(upstream.shape[0]):
        for row in range(levels.shape[0]):
            number, height, width, _, corner = levels[row]
            extent = height, width, corner
            for p in range(weights.shape[2]):
                place, weight = locations[q, number, p], weights[q, number, p]
                grad_place = grad_locations[q, number, p]
                grad_weights[q, number, p] = _backward_sample(
                    extent, upstream[q], cells, place, weight, grad_cells, grad_place
                )


@compiled("contract", inline=True)
def _between(share: float, length: int) -> tuple[int, float, float]:
    """Return the cell before a point on one axis, and the weights of it and of the next cell.

    Args:
        share: the point's place in 0..1 of the level's extent.
        length: cells along the axis.

    Returns:
        The cell is -2 far outside. The weights are NaN for a place that is not finite, as in
        ``grid_sample``.
    """
    position = share * np.float32(length) - HALF
    before = np.floor(position)
    after = position - before
    cell = -BORDER
    if before >= -1 and before < length:
        cell = int(before)
    return cell, ONE - after, after


@compiled(inline=True)
def _upper_left(i: int, j: int, extent: tuple[int, int, int]) -> tuple[np.uint64, np.uint64]:
    """Return the index of a level's cell in row i and column j, and of the one below it.

    They are unsigned, because numba tests whether signed indices count from the end.
    """
    _, width, corner = extent
    columns = width + 2 * BORDER
    index = corner + (i + BORDER) * columns + j + BORDER
    return np.uint64(index), np.uint64(index + columns)


@compiled("contract", inline=True)
def _add_sample(
    extent: tuple[int, int, int],
    cells: np.ndarray,
    place: np.ndarray,
    weight: float,
    total: np.ndarray,
) -> None:
    """Add weight × the bilinear sample at a place (x, y) of a level to total D.

    Args:
        extent: height, width and corner of the level.
        cells: S'×D.
        place: (x, y).
        weight: of the sample.
        total: D.
    """
    j, x0, x1 = _between(place[0], extent[1])
    i, y0, y1 = _between(place[1], extent[0])
    above, below = _upper_left(i, j, extent)
    c00, c01, c10, c11 = cells[above], cells[above + NEXT], cells[below], cells[below + NEXT]
    w00, w01, w10, w11 = weight * y0 * x0, weight * y0 * x1, weight * y1 * x0, weight * y1 * x1
    for d in range(total.shape[0]):
        total[d] += (w00 * c00[d] + w01 * c01[d]) + (w10 * c10[d] + w11 * c11[d])


@compiled("contract", inline=True)
def _backward_sample(
    extent: tuple[int, int, int],
    upstream: np.ndarray,
    cells: np.ndarray,
    place: np.ndarray,
    weight: float,
    grad_cells: np.ndarray,
    grad_place: np.ndarray,
) -> np.float32:
    """Add a sample's part to the cells' gradients and fill in its place's.

    Args:
        extent: height, width and corner of the level.
        upstream: D, the gradient to the query's output.
        cells: S'×D.
        place: (x, y).
        weight: of the sample.
        grad_cells: S'×D.
        grad_place: (x, y).

    Returns:
        The gradient to the weight: sample · upstream.
    """
    j, x0, x1 = _between(place[0], extent[1])
    i, y0, y1 = _between(place[1], extent[0])
    above, below = _upper_left(i, j, extent)
    c00, c01, c10, c11 = cells[above], cells[above + NEXT], cells[below], cells[below + NEXT]
    s00, s01, s10, s11 = _products(upstream, c00, c01, c10, c11)
    g00, g01 = grad_cells[above], grad_cells[above + NEXT]
    g10, g11 = grad_cells[below], grad_cells[below + NEXT]
    w00, w01, w10, w11 = weight * y0 * x0, weight * y0 * x1, weight * y1 * x0, weight * y1 * x1
    for d in range(upstream.shape[0]):
        g00[d] += w00 * upstream[d]
        g01[d] += w01 * upstream[d]
        g10[d] += w10 * upstream[d]
        g11[d] += w11 * upstream[d]
    # the sample's derivatives by x and y in cells; 0..1 is the whole extent
    by_x = y0 * (s01 - s00) + y1 * (s11 - s10)
    by_y = x0 * (s10 - s00) + x1 * (s11 - s01)
    grad_place[0] = weight * np.float32(extent[1]) * by_x
    grad_place[1] = weight * np.float32(extent[0]) * by_y
    by_weight: np.float32 = y0 * (x0 * s00 + x1 * s01) + y1 * (x0 * s10 + x1 * s11)
    return by_weight


# "reassoc" lets the sums use vector registers; NaN stays NaN
@compiled("contract", "reassoc", inline=True)
def _products(
    upstream: np.ndarray, c00: np.ndarray, c01: np.ndarray, c10: np.ndarray, c11: np.ndarray
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Return upstream · cell for the four corners."""
    s00 = s01 = s10 = s11 = np.float32(0)
    for d in range(upstream.shape[0]):
        s00 += upstream[d] * c00[d]
        s01 += upstream[d] * c01[d]
        s10 += upstream[d] * c10[d]
        s11 += upstream[d] * c11[d]
    return s00, s01, s10, s11
