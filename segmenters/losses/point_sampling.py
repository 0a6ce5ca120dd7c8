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
class SeededCandidates:
    """Random positions that are computed where they are used, and never kept.

    Attributes:
        seeds: L×M int64, none of them 0.
        number: positions of each, C.
    """

    seeds: Tensor
    number: int


@dataclass(frozen=True)
class Points:
    """Every random number of one evaluation of the set loss.

    It is for L predictions of B images with M matched segments.

    Attributes:
        matching: L×B×P×2, shared by all segments of an image.
        candidates: L×M×C×2, or seeds of as many; the loss takes the most uncertain ones.
        random: L×M×R×2; the loss takes all of them.
    """

    matching: Tensor
    candidates: Tensor | SeededCandidates
    random: Tensor


@dataclass(frozen=True)
class PointCounts:
    """How many points are drawn.

    Attributes:
        predictions: L of :class:`Points`.
        images: B.
        segments: M, matched segments of one prediction.
        number: points of one mask, P.
        candidates: of one mask, C.
        random: points of one mask that are not the most uncertain candidates, R.
    """

    predictions: int
    images: int
    segments: int
    number: int
    candidates: int
    random: int


def draw_points(counts: PointCounts, device: torch.device) -> Points:
    """Return points drawn from the device's global generator.

    They are drawn in the order of the official criterion, so that the same seed gives the same
    points.
    """
    candidates = torch.empty(
        counts.predictions, counts.segments, counts.candidates, 2, device=device
    )
    matching, random = _empty_points(counts, device)
    for number in range(counts.predictions):
        for image in matching[number]:
            image.uniform_()
        candidates[number].uniform_()
        random[number].uniform_()
    return Points(matching, candidates, random)


def draw_seeded_points(counts: PointCounts) -> Points:
    """Return points drawn from the CPU's global generator, with seeds for the candidates.

    The candidates are nine tenths of all random numbers. As seeds they take no memory, and are
    drawn by several threads.
    """
    matching, random = _empty_points(counts, torch.device("cpu"))
    seeds = torch.randint(1, 2**63 - 1, (counts.predictions, counts.segments))
    return Points(
        matching.uniform_(), SeededCandidates(seeds, counts.candidates), random.uniform_()
    )


def _empty_points(counts: PointCounts, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return room for the points of the matching and for the random ones."""
    matching = torch.empty(counts.predictions, counts.images, counts.number, 2, device=device)
    random = torch.empty(counts.predictions, counts.segments, counts.random, 2, device=device)
    return matching, random


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
