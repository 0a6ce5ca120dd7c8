"""The set loss in plain PyTorch, on any device."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.losses.matching import Matches, PairSums
from encoder_ablations.segmenters.losses.point_sampling import Points, sample, uncertain_points
from encoder_ablations.segmenters.losses.targets import Targets


def pair_sums(
    mask_logits: Sequence[Tensor], targets: Targets, points: Tensor, excluded: bool
) -> PairSums:
    """Return what the costs of all pairs follow from, see :class:`PairSums`.

    Args:
        mask_logits: L times B×Q×h×w.
        targets: the ground truth.
        points: L×B×P×2.
        excluded: whether ignored pixels weigh nothing; otherwise they lie in no segment.
    """
    columns = max(map(len, targets.classes))
    # L×B×(T+1)×P: the label of each point in each segment, and in the last row its weight; rows
    # between an image's own segments and the last one are not read
    labels = points.new_zeros(*points.shape[:2], columns + 1, points.shape[2])
    labels[:, :, -1] = 1
    for image, own in enumerate(targets.segments()):
        positions = points[:, image]
        values = sample(own[None], positions.reshape(1, -1, 2))
        by_prediction = values.view(len(own), *positions.shape[:2]).transpose(0, 1)
        labels[:, image, : len(own)] = by_prediction
        if excluded:
            labels[:, image, -1] = targets.labelled(image, positions)
    each = zip(mask_logits, points, labels.mT, strict=True)
    sums = [_sums(logits, positions, own) for logits, positions, own in each]
    logits, covered = (torch.stack(part) for part in zip(*sums, strict=True))
    return PairSums(logits, covered, labels.sum(3))


def _sums(mask_logits: Tensor, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``logits`` and ``covered`` of :class:`PairSums` for one prediction.

    Args:
        mask_logits: B×Q×h×w.
        points: B×P×2.
        labels: B×P×(T+1).
    """
    logits = sample(mask_logits, points)
    own = logits @ labels
    own[..., -1:] = F.softplus(logits) @ labels[..., -1:]
    return own, logits.sigmoid_() @ labels


def mask_terms(
    maps: Tensor, targets: Targets, matches: Matches, points: Points, excluded: bool
) -> tuple[Tensor, Tensor]:
    """Return the sums over all matched pairs of the cross-entropy and of the Dice loss.

    Args:
        maps: L×M×h×w mask logits of the matched queries.
        targets: the ground truth.
        matches: the pairs.
        points: where they are compared.
        excluded: whether ignored pixels weigh nothing.
    """
    flat = maps.flatten(0, 1)
    with torch.no_grad():
        positions = _positions(flat, targets, matches, points, excluded)
        segments = torch.cat(targets.segments())
        inside = _own_labels(segments, matches.segments, positions).flatten(0, 1)
        labelled = _labelled(targets, positions, matches, excluded).flatten(0, 1)
    logits = sample(flat[:, None], positions.flatten(0, 1)).squeeze(1)
    # binary cross-entropy, the mean over labelled points
    entropy = (labelled * F.softplus(logits) - logits * inside).sum(1)
    entropy = entropy / labelled.sum(1).clamp(min=1)
    # Dice loss, over labelled points
    covered = logits.sigmoid()
    area = (covered * labelled).sum(1) + inside.sum(1)
    dice = 1 - (2 * (covered * inside).sum(1) + 1) / (area + 1)
    return entropy.sum(), dice.sum()


def _positions(
    maps: Tensor, targets: Targets, matches: Matches, points: Points, excluded: bool
) -> Tensor:
    """Return the uncertain and the random points of every matched pair: L×M×P×2.

    Args:
        maps: L·M×h×w mask logits of the matched queries.
        targets: the ground truth.
        matches: the pairs.
        points: the candidates, and the random points.
        excluded: whether ignored candidates are taken last.
    """
    assert isinstance(points.candidates, Tensor)
    usable = None
    if excluded and any(targets.ignored):
        usable = _labelled(targets, points.candidates, matches, excluded).flatten(0, 1) > 0
    number = points.matching.shape[2] - points.random.shape[2]
    uncertain = uncertain_points(maps, points.candidates.flatten(0, 1), usable, number)
    by_pair = uncertain.view(*points.random.shape[:2], number, 2)
    return torch.cat([by_pair, points.random], dim=2)


def _labelled(targets: Targets, positions: Tensor, matches: Matches, excluded: bool) -> Tensor:
    """Return the weight of each of the points L×M×P×2 of the matched pairs: L×M×P, 0..1."""
    if not excluded:
        return torch.ones_like(positions[..., 0])
    by_image = torch.split(positions, matches.by_image, dim=1)
    weights = [targets.labelled(image, own) for image, own in enumerate(by_image)]
    return torch.cat(weights, dim=1)


def _own_labels(segments: Tensor, owners: Tensor, positions: Tensor) -> Tensor:
    """Return the values of each pair's segment at the pair's points.

    Every segment is read once for all predictions.

    Args:
        segments: S×H×W.
        owners: L×M, the segment of each pair.
        positions: L×M×P×2.

    Returns:
        L×M×P, 0..1.
    """
    predictions, pairs = owners.shape
    rows = torch.arange(predictions, device=owners.device)[:, None]
    # the pair of each segment in each prediction; with more segments than queries some have none,
    # and read the points of pair 0, which are not used
    source = owners.new_zeros(len(segments), predictions)
    source[owners, rows] = rows * pairs + torch.arange(pairs, device=owners.device)
    grouped = positions.flatten(0, 1)[source].flatten(1, 2)
    values = sample(segments[:, None], grouped)
    return values.view(*source.shape, positions.shape[2])[owners, rows]
