"""Which query answers for which segment: the Hungarian matching of Mask2Former.

Follows ``mask2former/modeling/matcher.py`` of the official repository. The pairwise binary
cross-entropy is written as softplus(x) − x·label, and points may weigh less than 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from encoder_ablations.segmenters.ops.transfers import sent


@dataclass(frozen=True)
class Weights:
    """Weights of the three terms, in the matching's cost and in the loss."""

    classes: float
    masks: float
    dice: float


@dataclass(frozen=True)
class Matches:
    """The matched pairs of L predictions.

    Every image has as many pairs as it has segments, but at most as many as there are queries. M is
    their sum over the images.

    Attributes:
        queries: L×M indices into the B·Q queries of the batch, image after image.
        segments: L×M indices into the S segments of the batch.
        by_image: number of pairs in each image.
    """

    queries: Tensor
    segments: Tensor
    by_image: list[int]


@dataclass(frozen=True)
class PairSums:
    """Sums over random points from which the costs of all (query, segment) pairs follow.

    Each is for L predictions of B images, Q queries, and T segments of the image that has most. A
    label is the share of a point that lies in a segment, a weight the share that is labelled.

    Attributes:
        logits: L×B×Q×(T+1), the sums of logit·label; last that of softplus(logit)·weight.
        covered: L×B×Q×(T+1), the sums of sigmoid·label; last that of sigmoid·weight.
        areas: L×B×(T+1), the sums of the labels; last that of the weights.
    """

    logits: Tensor
    covered: Tensor
    areas: Tensor


def pair_costs(class_logits: Tensor, present: Tensor, sums: PairSums, weights: Weights) -> Tensor:
    """Return the cost of every (query, segment) pair: L×B×Q×T, float32.

    Args:
        class_logits: L×B×Q×(K+1).
        present: B×T class ids of the segments.
        sums: over the points.
        weights: of the terms.
    """
    areas = sums.areas[:, :, None]
    # cross-entropy: the mean of softplus(x) - x·label over labelled points
    entropy = sums.logits[..., -1:] - sums.logits[..., :-1]
    mask_cost = entropy / areas[..., -1:].clamp(min=1)
    # Dice: 1 - 2·|intersection| / (|predicted| + |true|), with 1 added to both
    union = sums.covered[..., -1:] + areas[..., :-1]
    dice_cost = 1 - (2 * sums.covered[..., :-1] + 1) / (union + 1)
    # the class: minus the probability of the segment's class
    probabilities = class_logits.float().softmax(-1)
    class_cost = -probabilities.gather(3, present[:, None].expand(*probabilities.shape[:3], -1))
    return weights.classes * class_cost + weights.masks * mask_cost + weights.dice * dice_cost


def assign(costs: Tensor, counts: Sequence[int]) -> Matches:
    """Return the cheapest assignment for each prediction and image.

    Args:
        costs: L×B×Q×T; columns beyond an image's own segments are not read.
        counts: number of segments in each image.
    """
    # a diverged model (NaN) is for the loss to report, not for the matcher
    table = torch.nan_to_num(costs, nan=1e9, posinf=1e9, neginf=-1e9).cpu().numpy()
    pairs = np.stack([_assign_images(images, counts) for images in table], axis=1)
    queries, segments = sent(torch.from_numpy(pairs), costs.device)
    return Matches(queries, segments, [min(count, costs.shape[2]) for count in counts])


def _assign_images(costs: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Return the matched queries and segments of one prediction: 2×M int64, counted over the batch.

    Args:
        costs: B×Q×T.
        counts: number of segments in each image.
    """
    starts = np.cumsum([0, *counts])
    pairs = []
    for image, count in enumerate(counts):
        queries, segments = linear_sum_assignment(costs[image, :, :count])
        pairs.append(np.stack([queries + image * costs.shape[1], segments + starts[image]]))
    return np.concatenate(pairs, axis=1)
