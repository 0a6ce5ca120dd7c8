"""Which query answers for which segment: the Hungarian matching of Mask2Former.

Follows ``mask2former/modeling/matcher.py`` of the official repository; the pairwise binary cross-entropy is written as
softplus(x) − x·label, and points may weigh less than 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.losses.point_sampling import sample


@dataclass(frozen=True)
class Weights:
    """How much the three terms count, in the cost and in the loss."""

    classes: float
    masks: float
    dice: float


@dataclass(frozen=True)
class Matches:
    """The matched pairs of L predictions; M = sum over images of the lesser of queries and segments.

    Attributes:
        queries: L×M indices into the B·Q queries of the batch, image after image.
        segments: L×M indices into the S segments of the batch.
    """

    queries: Tensor
    segments: Tensor


def pair_costs(
    class_logits: Tensor,
    mask_logits: Tensor,
    present: Tensor,
    points: Tensor,
    labels: Tensor,
    labelled: Tensor,
    weights: Weights,
) -> Tensor:
    """Cost of every (query, segment) pair of one prediction: B×Q×T, float32.

    Args:
        class_logits: B×Q×(K+1).
        mask_logits: B×Q×h×w.
        present: B×T class ids of the segments.
        points: B×P×2, positions in 0..1.
        labels: B×T×P, share of each point that lies in the segment, 0..1.
        labelled: B×P, share of each point that is labelled, 0..1.
    """
    logits = sample(mask_logits, points)
    both = torch.cat([labels, labelled[:, None]], dim=1).transpose(1, 2)
    area = both.sum(1, keepdim=True)
    entropy = F.softplus(logits) @ both[..., -1:] - (logits @ both)[..., :-1]
    mask_cost = entropy / area[..., -1:].clamp(min=1)
    covered = logits.sigmoid_() @ both
    dice_cost = 1 - (2 * covered[..., :-1] + 1) / (covered[..., -1:] + area[..., :-1] + 1)
    probabilities = class_logits.float().softmax(-1)
    class_cost = -probabilities.gather(2, present[:, None].expand(-1, probabilities.shape[1], -1))
    return weights.classes * class_cost + weights.masks * mask_cost + weights.dice * dice_cost


def assign(costs: Tensor, counts: Sequence[int]) -> Matches:
    """The cheapest assignment for each prediction and image.

    Args:
        costs: L×B×Q×T; columns beyond an image's own segments are not read.
        counts: number of segments in each image.
    """
    # A diverged model (NaN) is for the loss to report, not for the matcher.
    table = torch.nan_to_num(costs, nan=1e9, posinf=1e9, neginf=-1e9).cpu().numpy()
    starts = np.cumsum([0, *counts])
    pairs = np.zeros(
        (2, len(table), sum(min(count, costs.shape[2]) for count in counts)), dtype=np.int64
    )
    for prediction, images in enumerate(table):
        done = 0
        for image, count in enumerate(counts):
            queries, segments = linear_sum_assignment(images[image, :, :count])
            span = slice(done, done + len(queries))
            pairs[0, prediction, span] = queries + image * costs.shape[2]
            pairs[1, prediction, span] = segments + starts[image]
            done = span.stop
    queries, segments = torch.from_numpy(pairs).to(costs.device)
    return Matches(queries, segments)
