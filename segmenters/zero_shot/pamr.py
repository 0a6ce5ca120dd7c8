"""Pixel-adaptive mask refinement (PAMR) of scores by an image's colours.

Araslanov and Roth, CVPR 2020: "Single-Stage Semantic Segmentation from Image Labels", section 4.2;
visinf/1-stage-wseg.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

NEAR = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""The eight neighbours, in steps of a dilation along rows and columns."""
CONTRAST = 0.1
"""What the local standard deviation is multiplied by in the affinity."""
TINY = 1e-8


def refine(scores: Tensor, images: Tensor, steps: int, dilations: Sequence[int]) -> Tensor:
    """Return scores B×Q×H×W in which each pixel took the mean of neighbours that look alike.

    Args:
        scores: B×Q×H×W.
        images: B×3×H×W; each channel may have any scale.
        steps: how often.
        dilations: distances of the eight neighbours in pixels.
    """
    weights = colour_affinity(images, dilations)
    for _ in range(steps):
        # added up neighbour by neighbour: all of them together would need much memory
        refined = torch.zeros_like(scores)
        for index, neighbour in enumerate(_neighbours(scores, dilations)):
            refined += neighbour * weights[:, index, None]
        scores = refined
    return scores


def colour_affinity(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """Return the weights B×P×H×W of P neighbours, which add up to 1 at every pixel.

    Args:
        images: B×3×H×W.
        dilations: P is eight times as many.
    """
    near = torch.stack(list(_neighbours(images, dilations)), dim=2)
    # the deviation is that over the neighbours and, for every dilation, the pixel itself
    own = images.unsqueeze(2)
    around = torch.cat([near, own.expand(-1, -1, len(dilations), -1, -1)], dim=2)
    deviation = around.std(dim=2, keepdim=True)
    distance = (own - near).abs() / (TINY + CONTRAST * deviation)
    return (-distance).mean(dim=1).softmax(dim=1)


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Yield B×C×H×W for every dilation and neighbour; borders are repeated beyond the image."""
    height, width = maps.shape[-2:]
    for step in dilations:
        padded = F.pad(maps, [step] * 4, mode="replicate")
        for down, right in NEAR:
            top, left = step * (1 + down), step * (1 + right)
            yield padded[..., top : top + height, left : left + width]
