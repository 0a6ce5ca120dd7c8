"""Rule 8 for BEiT: tables of relative positions are resized as microsoft/unilm does it."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RectBivariateSpline

from encoder_ablations.encoders.bodies.relative_positions import resize_relative_positions


def places(source, target):
    """The coordinates of beit/run_class_finetuning.py, restated: distances 1, 1·q, 1·q², …"""
    left, right = 1.01, 1.5
    while right - left > 1e-6:
        q = (left + right) / 2.0
        if (1.0 - q ** (source // 2)) / (1.0 - q) > target // 2:
            right = q
        else:
            left = q
    distances, current = [], 1
    for i in range(source // 2):
        distances.append(current)
        current += q ** (i + 1)
    return [-each for each in reversed(distances)] + [0] + distances


def original_beit(table, grid, to):
    """One cubic spline surface per head (``interp2d`` of older SciPy), in float64."""
    sources, targets = [2 * n - 1 for n in grid], [2 * n - 1 for n in to]
    axes, wanted = [], []
    for source, target in zip(sources, targets, strict=True):
        known = places(source, target) if source != target else np.arange(source) - source // 2
        axes.append(np.asarray(known, dtype=np.float64))
        line = np.arange(-(target // 2), target // 2 + 0.1, 1.0)
        wanted.append(line.clip(axes[-1][0], axes[-1][-1]))
    columns = []
    for head in table[:-3].double().T:
        surface = RectBivariateSpline(*axes, head.reshape(sources).numpy(), kx=3, ky=3, s=0)
        columns.append(torch.from_numpy(surface(*wanted)).flatten())
    return torch.cat([torch.stack(columns, 1).to(table.dtype), table[-3:]])


@pytest.mark.parametrize("to", [(14, 14), (20, 20), (9, 9), (7, 12), (5, 7), (1, 3)])
def test_it_is_the_original(to):
    table = torch.randn(13 * 13 + 3, 4, generator=torch.Generator().manual_seed(0))
    found = resize_relative_positions(table, (7, 7), to)
    assert found.shape == ((2 * to[0] - 1) * (2 * to[1] - 1) + 3, 4)
    assert (found - original_beit(table, (7, 7), to)).abs().max() <= 1e-5
    assert torch.equal(found[-3:], table[-3:])


def test_the_same_grid_is_untouched_and_gradients_flow():
    table = torch.randn(13 * 13 + 3, 4, requires_grad=True)
    assert resize_relative_positions(table, (7, 7), (7, 7)) is table
    resize_relative_positions(table, (7, 7), (9, 5)).sum().backward()
    assert (table.grad.abs() > 0).any(1).all()
