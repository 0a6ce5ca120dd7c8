"""The region of every patch."""

import torch
from torch import Tensor


def majority_ids(regions: Tensor, grid: tuple[int, int], reduction: float) -> Tensor:
    """Return W×N int64: the region that most pixels of each patch lie in.

    Of regions with equally many pixels it is the one with the smallest id. A patch reaches as far
    as the window does: what is padding is not counted.

    Args:
        regions: W×h×w int64 region ids.
        grid: (rows, columns) of N patches, which cover the window.
        reduction: pixels per patch.
    """
    values, dense = regions.unique(return_inverse=True)
    rows = _patch_of(regions.shape[1], grid[0], reduction)
    columns = _patch_of(regions.shape[2], grid[1], reduction)
    patches = rows.to(dense.device)[:, None] * grid[1] + columns.to(dense.device)
    # for every patch: how many of its pixels lie in each region
    count = grid[0] * grid[1]
    pairs = (patches * len(values) + dense).flatten(1)
    votes = [torch.bincount(each, minlength=count * len(values)) for each in pairs]
    found = torch.stack(votes).view(len(regions), count, len(values)).argmax(dim=-1)
    ids: Tensor = values[found]
    return ids


def _patch_of(length: int, count: int, reduction: float) -> Tensor:
    """Return the row of patches in which each row of pixels has its middle."""
    places = (torch.arange(length) + 0.5) / reduction
    return places.long().clamp_max(count - 1)
