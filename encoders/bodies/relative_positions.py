"""BEiT's tables of relative positions for another grid of patches, by its authors' rule."""

from functools import lru_cache

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

PREFIX_ROWS = 3
"""Last rows of a table: class token to patch, patch to class token, class token to itself."""


def resize_relative_positions(table: Tensor, grid: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """Return the table of another grid; for the same grid the same tensor.

    That is the cubic interpolation of microsoft/unilm (beit/run_class_finetuning.py), which knows
    square grids only; here the same rule holds for rows and for columns.

    Args:
        table: ((2·rows-1)·(2·columns-1)+3)×heads.
        grid: (rows, columns) of patches of the table.
        to: (rows, columns) wanted.
    """
    if grid == to:
        return table
    heads = table.shape[1]
    height, width = (2 * n - 1 for n in grid)
    offsets, prefix = table[:-PREFIX_ROWS], table[-PREFIX_ROWS:]
    maps = offsets.float().T.reshape(heads, height, width)
    # a spline is linear in its values, so that two products interpolate, with gradients
    down, across = (_weights(n, wanted).to(maps) for n, wanted in zip(grid, to, strict=True))
    resized = down @ maps @ across.T
    return torch.cat([resized.flatten(1).T.to(table.dtype), prefix])


def _weights(source: int, target: int) -> Tensor:
    """Return the (2·target-1)×(2·source-1) weights of an interpolation along one side."""
    with torch.device("cpu"):
        return torch.tensor(_spline(source, target))


@lru_cache(maxsize=256)
def _spline(source: int, target: int) -> NDArray[np.float64]:
    """Return the values at whole offsets of the cubic splines through unit vectors."""
    if source == target:
        return np.eye(2 * source - 1)
    places = _places(source, target)
    wanted = np.clip(np.arange(1.0 - target, target), places[0], places[-1])
    degree = min(3, len(places) - 1)
    spline = scipy.interpolate.make_interp_spline(places, np.eye(len(places)), k=degree)
    values: NDArray[np.float64] = spline(wanted)
    return values


def _places(source: int, target: int) -> NDArray[np.float64]:
    """Return where the known offsets lie on the wanted grid.

    Neighbours stay at distance 1, and distances grow geometrically, so that the farthest known
    offset becomes the farthest wanted one.
    """
    low, high = 1.01, 1.5
    ratio = high
    # bisection for the ratio whose series reaches target - 1
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio ** (source - 1)) / (1 - ratio) > target - 1:
            high = ratio
        else:
            low = ratio
    steps = np.cumsum(ratio ** np.arange(source - 1))
    return np.concatenate([-steps[::-1], [0.0], steps])
