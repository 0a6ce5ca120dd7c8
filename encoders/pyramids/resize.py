"""Feature maps from one stride to another, with the geometry kept exact."""

import math

from torch import Tensor
from torch.nn import functional as F


def resize_to_stride(
    features: Tensor, reduction: float, stride: int, size: tuple[int, int]
) -> Tensor:
    """Return a map resized bilinearly from one stride to another, and cut to ``size``.

    The map may cover more than the image (padding on the right and below). Sampling positions are
    those of the image, so that padding never shifts features, also when ``reduction / stride`` is
    not an integer (patch 14).

    Args:
        features: B×C×h×w.
        reduction: image pixels per step of ``features``.
        stride: image pixels per step of the result.
        size: (rows, columns) of the result.

    Returns:
        B×C×size.
    """
    if reduction == stride:
        return features[..., : size[0], : size[1]]
    scale = reduction / stride
    height, width = features.shape[-2:]
    fits = (height * scale, width * scale) == tuple(size)
    return scale_bilinear(features, (scale, scale), size, fits)


def scale_bilinear(
    maps: Tensor, factors: tuple[float, float], size: tuple[int, int], fits: bool
) -> Tensor:
    """Return maps scaled bilinearly by ``factors`` (half-pixel centres) and cut to ``size``.

    Pixel i of the result lies at (i + 0.5) / factor - 0.5 of the map, whatever ``size`` is. The
    map's last row and column are repeated beyond it.

    Args:
        maps: B×C×h×w.
        factors: pixels of the result per step of the maps, along the rows and along the columns.
        size: (rows, columns) of the result, at most h and w times their factors, rounded up.
        fits: whether ``size`` is exactly h and w times their factors.

    Returns:
        B×C×size.
    """
    if fits:
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    below, right = (
        _added_length(length, factor)
        for length, factor in zip(maps.shape[-2:], factors, strict=True)
    )
    padded = F.pad(maps, (0, right, 0, below), mode="replicate")
    scaled = F.interpolate(
        padded,
        scale_factor=factors,
        mode="bilinear",
        align_corners=False,
        recompute_scale_factor=False,
    )
    return scaled[..., : size[0], : size[1]]


def _added_length(length: int, factor: float) -> int:
    """Return by how many rows (or columns) a map is extended before it is scaled by ``factor``."""
    # PyTorch rounds the length of the result down: never one row too few
    enough = math.ceil(1 / factor)
    if factor <= 1:
        return enough
    # Where the result is as long as its source, PyTorch copies on the CPU (on CUDA if both sides
    # are), although the factor is not 1. From this length on the result is longer than its source.
    longer = math.ceil(1 / (factor - 1)) + 1
    return max(enough, longer - length)
