"""Which patches of an image an encoder takes for similar, small enough for a page."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.utils.arithmetic import tensor_float32

RANK = 64
"""Numbers that are kept of each patch."""
SIDE = 48
"""Most patches along a side; neighbouring ones of a finer map are averaged."""
LEVELS = 127
"""Numbers are stored as integers between this and its negative."""


class PatchFeatures(NamedTuple):
    """Numbers of each patch, whose products are cosine similarities.

    Attributes:
        values: rows×columns×R int8.
        scale: what the values are multiplied by.
        covered: (rows, columns) of the image as shares of the grid, above 0 and at most 1: the last
            patches may reach beyond the image.
    """

    values: np.ndarray
    scale: float
    covered: tuple[float, float]

    def similarity(self, row: int, column: int) -> np.ndarray:
        """Return the cosine similarity of all patches to one of them, rows×columns, about -1..1."""
        numbers = self.values.astype(np.float32) * self.scale
        found: np.ndarray = numbers @ numbers[row, column]
        return found


def patch_features(predictor: Predictor, image: np.ndarray) -> PatchFeatures:
    """Return what tells how similar the patches of an image are, by the body's last map.

    Args:
        predictor: of one model, in one view of the whole image.
        image: H×W×3 (RGB) or H×W (grey) uint8.

    Raises:
        InputError: there are several models, views or windows.
    """
    member = predictor.only_member("--similarity")
    pixels = predictor.pixels_for(member, image)
    reduction = member.segmenter.encoder.body.reductions[-1]
    with torch.inference_mode(), tensor_float32(False):
        maps = member.segmenter.features(pixels).maps[-1].float()
    rows, columns = (math.ceil(side / reduction) for side in pixels.shape[-2:])
    # what covers padding alone is left out
    grid, step = _at_most(maps[:, :, :rows, :columns], SIDE)
    values, scale = _shortened(grid)
    extent = [reduction * step * side for side in grid.shape[-2:]]
    height, width = pixels.shape[-2:]
    return PatchFeatures(values, scale, (height / extent[0], width / extent[1]))


def _at_most(maps: Tensor, side: int) -> tuple[Tensor, int]:
    """Return maps 1×C×h×w with sides of at most ``side``, and the patches averaged on a side."""
    step = math.ceil(max(maps.shape[-2:]) / side)
    return F.avg_pool2d(maps, step, ceil_mode=True, count_include_pad=False), step


def _shortened(maps: Tensor) -> tuple[np.ndarray, float]:
    """Return maps 1×C×h×w as int8 vectors h×w×R, and their scale.

    The vectors are those R numbers that give the products of unit vectors best: coordinates along
    the strongest right singular vectors (Eckart & Young, 1936). These are eigenvectors of a C×C
    matrix, which is faster than a decomposition of all patches.
    """
    unit = F.normalize(maps[0].flatten(1).T.double().cpu(), dim=1)
    # in ascending order of their eigenvalues
    directions = torch.linalg.eigh(unit.T @ unit).eigenvectors
    kept = (unit @ directions[:, -RANK:].flip(1)).numpy()
    scale = max(float(np.abs(kept).max()), 1e-12) / LEVELS
    whole = (kept / scale).round().astype(np.int8)
    return whole.reshape(*maps.shape[-2:], -1), scale
