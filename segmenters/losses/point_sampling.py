"""Random points at which predicted and true masks are compared (PointRend, Kirillov et al., CVPR 2020).

Positions are (x, y) in 0..1 of the image; maps and masks are read there bilinearly with half-pixel centres.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Points:
    """Every random number of one evaluation of the set loss, for L predictions of B images with M matched segments.

    Attributes:
        matching: L×B×P×2, shared by all segments of an image.
        candidates: L×M×C×2, of which the most uncertain ones are taken for the loss.
        random: L×M×R×2, taken as they are.
    """

    matching: Tensor
    candidates: Tensor
    random: Tensor


def draw_points(
    predictions: int,
    images: int,
    segments: int,
    number: int,
    oversample: float,
    importance: float,
    device: torch.device,
) -> Points:
    """Draws from the device's global generator in the order of the official criterion: the same seed, the same points.

    Args:
        predictions, images, segments: L, B, M of :class:`Points`.
        number: points of one mask, P; the share ``importance`` of them will be the most uncertain of
            ``oversample`` × P candidates.
    """
    random = number - int(importance * number)
    points = Points(
        matching=torch.empty(predictions, images, number, 2, device=device),
        candidates=torch.empty(predictions, segments, int(number * oversample), 2, device=device),
        random=torch.empty(predictions, segments, random, 2, device=device),
    )
    for matching, candidates, others in zip(
        points.matching, points.candidates, points.random, strict=True
    ):
        for image in matching:
            image.uniform_()
        candidates.uniform_()
        others.uniform_()
    return points


def sample(maps: Tensor, points: Tensor, beyond: str = "zeros") -> Tensor:
    """R×C×h×w maps at R×P×2 points -> R×C×P, in float32 (Detectron2's ``point_sample``).

    Args:
        beyond: what lies beyond the border: "zeros", or "border", the nearest pixel.
    """
    grid = (2 * points[:, :, None]).sub_(1)
    return F.grid_sample(
        maps.float(), grid, mode="bilinear", padding_mode=beyond, align_corners=False
    ).squeeze(3)


def uncertain_points(
    maps: Tensor, candidates: Tensor, usable: Tensor | None, number: int
) -> Tensor:
    """The candidates whose logits are nearest to 0.

    Args:
        maps: R×h×w mask logits.
        candidates: R×C×2.
        usable: R×C bool; the others are taken only when these do not suffice. None: all are usable.
        number: how many to take, N.

    Returns:
        R×N×2.
    """
    distance = sample(maps[:, None], candidates).squeeze(1).abs()
    if usable is not None:
        distance = distance.masked_fill(~usable, torch.inf)
    chosen = distance.topk(number, dim=1, largest=False, sorted=False).indices
    chosen += candidates.shape[1] * torch.arange(len(candidates), device=chosen.device)[:, None]
    return candidates.flatten(0, 1)[chosen]
