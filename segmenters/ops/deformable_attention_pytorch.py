"""Multi-scale deformable attention in plain PyTorch, for any device and float dtype.

The meaning is that of ``ms_deform_attn_core_pytorch`` in the official repository: bilinear
``grid_sample``, zeros outside, ``align_corners=False``. The compiled kernels are measured against
this module. Letters: B images, S cells of all levels together, M heads, D numbers per head,
Q queries, L levels, P points.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def forward(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]
) -> Tensor:
    """Return the weighted samples B×Q×(M·D).

    Args:
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        shapes: (height, width) of each level.
    """
    batch, _, heads, dim = value.shape
    queries = locations.shape[1]
    output = value.new_zeros(batch * heads, dim, queries)
    # eq. 3: the sum over levels, and within each of them over its points
    for _, cells, grid, weight in _by_level(value, locations, weights, shapes):
        output = output + (_sample(cells, grid) * weight).sum(-1)
    return output.view(batch, heads, dim, queries).permute(0, 3, 1, 2).flatten(2).contiguous()


def backward(
    gradient: Tensor,
    value: Tensor,
    locations: Tensor,
    weights: Tensor,
    shapes: Sequence[tuple[int, int]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients to value, locations and weights, in their shapes.

    They are spelled out, because autograd is off inside an operator. Every level is sampled again.

    Args:
        gradient: B×Q×(M·D), of the output of :func:`forward` for the other arguments.
        value: B×S×M×D.
        locations: B×Q×M×L×P×2.
        weights: B×Q×M×L×P.
        shapes: (height, width) of each level.
    """
    batch, _, heads, dim = value.shape
    per_head = gradient.reshape(batch, locations.shape[1], heads, dim)
    upstream = per_head.permute(0, 2, 3, 1).flatten(0, 1).unsqueeze(-1)  # B·M×D×Q×1
    to_value = value.new_zeros(value.shape)
    to_locations = locations.new_zeros(locations.shape)
    to_weights = weights.new_zeros(weights.shape)
    for level, cells, grid, weight in _by_level(value, locations, weights, shapes):
        height, width = cells.shape[-2:]
        start = sum(rows * columns for rows, columns in shapes[:level])
        # 0, 0, False: bilinear, zeros outside, no aligned corners, as in _sample
        cells_part, grid_part = torch.ops.aten.grid_sampler_2d_backward(
            upstream * weight, cells, grid, 0, 0, False, [True, True]
        )
        by_head = cells_part.view(batch, heads, dim, height * width)
        to_value[:, start : start + height * width] = by_head.permute(0, 3, 1, 2)
        # the grid is 2 · location - 1
        to_locations[:, :, :, level] = 2 * _queries_first(grid_part, batch, heads)
        # a weight's gradient is its sample · upstream
        weight_part = (_sample(cells, grid) * upstream).sum(1)
        to_weights[:, :, :, level] = _queries_first(weight_part, batch, heads)
    return to_value, to_locations, to_weights


def _by_level(
    value: Tensor, locations: Tensor, weights: Tensor, shapes: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Yield, for each level that is not empty, what ``grid_sample`` reads.

    Returns:
        The level's index, cells B·M×D×h×w, grid B·M×Q×P×2 in -1..1, weights B·M×1×Q×P.
    """
    parts = torch.split(value, [height * width for height, width in shapes], dim=1)
    for level, (height, width) in enumerate(shapes):
        if height * width == 0:
            continue
        per_head = parts[level].permute(0, 2, 3, 1).flatten(0, 1)
        cells = per_head.reshape(*per_head.shape[:2], height, width)
        grid = 2 * _heads_first(locations[:, :, :, level]) - 1
        yield level, cells, grid, _heads_first(weights[:, :, :, level]).unsqueeze(1)


def _heads_first(tensor: Tensor) -> Tensor:
    """Return B·M×Q×… of B×Q×M×…."""
    return tensor.transpose(1, 2).flatten(0, 1)


def _queries_first(tensor: Tensor, batch: int, heads: int) -> Tensor:
    """Return B×Q×M×… of B·M×Q×…, the reverse of :func:`_heads_first`."""
    return tensor.view(batch, heads, *tensor.shape[1:]).transpose(1, 2)


def _sample(cells: Tensor, grid: Tensor) -> Tensor:
    """Return the bilinear samples N×D×Q×P of N×D×h×w at N×Q×P×2."""
    return F.grid_sample(cells, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
