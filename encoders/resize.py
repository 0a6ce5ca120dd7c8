"""Feature maps from one stride to another, with the geometry kept exact."""

import math

from torch import Tensor
from torch.nn import functional as F


def resize_to_stride(features: Tensor, reduction: float, stride: int, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of a map with ``reduction`` image pixels per step to one with ``stride``, cut to ``size``.

    The map may cover more than the image (padding on the right and below); sampling positions are those of the image,
    so that padding never shifts features, also when ``reduction / stride`` is not an integer (patch 14).

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
    if all(n * scale == target for n, target in zip(features.shape[-2:], size, strict=True)):
        return F.interpolate(features, size=size, mode="bilinear", align_corners=False)
    more = math.ceil(1 / scale)  # so that rounding down never leaves too few rows
    padded = F.pad(features, (0, more, 0, more), mode="replicate")
    resized = F.interpolate(
        padded, scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )
    return resized[..., : size[0], : size[1]]
