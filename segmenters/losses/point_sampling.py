"""Random points at which predicted and true masks are compared.

They are PointRend's (Kirillov et al., CVPR 2020): most lie where a prediction is uncertain.

Positions are (x, y) in 0..1 of the image. Maps and masks are read there bilinearly, with half-pixel
centres.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Points:
    """Every random number of one evaluation of the set loss.

    It is for L predictions of B images with M matched segments.

    Attributes:
        matching: L×B×P×2, shared by all segments of an image.
        candidates: L×M×C×2; the loss takes the most uncertain ones.
        random: L×M×R×2; the loss takes all of them.
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
    """Return points drawn from the device's global generator.

    They are drawn in the order of the official criterion, so that the same seed gives the same
    points.

    Args:
        predictions: L of :class:`Points`.
        images: B.
        segments: M, matched segments of one prediction.
        number: points of one mask, P.
        oversample: candidates per point: C = ``oversample`` × P.
        importance: share of the points that will be the most uncertain candidates.
        device: where they are drawn.
    """
    random = number - int(importance * number)
    points = Points(
        matching=torch.empty(predictions, images, number, 2, device=device),
        candidates=torch.empty(predictions, segments, int(number * oversample), 2, device=device),
        random=torch.empty(predictions, segments, random, 2, device=device),
    )
    each = zip(points.matching, points.candidates, points.random, strict=True)
    for matching, candidates, others in each:
        for image in matching:
            image.uniform_()
        candidates.uniform_()
        others.uniform_()
    return points


def sample(maps: Tensor, points: Tensor, beyond: str = "zeros") -> Tensor:
    """Return maps at points, R×C×P in float32 (Detectron2's ``point_sample``).

    Args:
        maps: R×C×h×w.
        points: R×P×2.
        beyond: values beyond the border: "zeros", or "border" for those of the nearest pixel.
    """
    grid = (2 * points[:, :, None]).sub_(1)
    return F.grid_sample(
        maps.float(), grid, mode="bilinear", padding_mode=beyond, align_corners=False
    ).squeeze(3)


def uncertain_points(
    maps: Tensor, candidates: Tensor, usable: Tensor | None, number: int
) -> Tensor:
    """Return the candidates whose logits are nearest to 0.

    Args:
        maps: R×h×w mask logits.
        candidates: R×C×2.
        usable: R×C bool; the others are taken only when these do not suffice. None: all are usable.
        number: how many to take, N ≤ C.

    Returns:
        R×N×2.
    """
    distance = sample(maps[:, None], candidates).squeeze(1).abs()
    if usable is not None:
        distance = distance.masked_fill(~usable, torch.inf)
    chosen = distance.topk(number, dim=1, largest=False, sorted=False).indices
    # from indices within a row to indices into all rows
    chosen += candidates.shape[1] * torch.arange(len(candidates), device=chosen.device)[:, None]
    return candidates.flatten(0, 1)[chosen]
