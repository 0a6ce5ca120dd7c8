"""The set loss of Mask2Former (Cheng et al., CVPR 2022), on semantic masks: one segment per class present.

With ``ignored_pixels="negative"`` it is the official criterion (``mask2former/modeling/criterion.py``), for which
ignored pixels lie in no segment. With "excluded" a point weighs as much as its bilinear support is labelled, in the
loss and in the matching. Without ignored pixels the two are the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.losses.matching import Matches, Weights, assign, pair_costs
from encoder_ablations.segmenters.losses.point_sampling import (
    Points,
    draw_points,
    sample,
    uncertain_points,
)
from encoder_ablations.segmenters.losses.targets import Targets, find_targets
from encoder_ablations.segmenters.spec import Mask2FormerSettings, Mask2FormerSpec


class SetLoss:
    """Matches queries with segments and compares them, for the final and all auxiliary predictions alike."""

    def __init__(self, spec: Mask2FormerSpec, num_classes: int) -> None:
        self.spec = spec
        self.num_classes = num_classes
        self.weights = Weights(spec.class_weight, spec.mask_weight, spec.dice_weight)

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """What the terms are divided by; sums over micro-batches and processes are those of the whole batch.

        Args:
            masks: B×H×W int64 class ids, see :func:`find_targets`.

        Returns:
            See :func:`loss_totals`.
        """
        return loss_totals(self.spec, find_targets(masks, self.num_classes))

    def draw(self, predictions: int, targets: Targets) -> Points:
        """The random points for this many predictions (final and auxiliary), from the device's global generator."""
        return draw_points(
            predictions,
            len(targets.classes),
            sum(pairs_by_image(self.spec, targets)),
            self.spec.points,
            self.spec.oversample_ratio,
            self.spec.importance_ratio,
            targets.masks.device,
        )

    def __call__(
        self,
        class_logits: Sequence[Tensor],
        mask_logits: Sequence[Tensor],
        targets: Targets,
        totals: dict[str, Tensor],
        points: Points,
    ) -> dict[str, Tensor]:
        """The loss, in float32 whatever the surrounding autocast.

        Args:
            class_logits: L times B×Q×(K+1), the final prediction first, then the auxiliary ones; the last class is
                "no object".
            mask_logits: L times B×Q×h×w.
            targets: see :func:`find_targets`.
            totals: see :meth:`totals`.
            points: see :meth:`draw`.

        Returns:
            "class", "mask" and "dice", weighted and summed over the predictions.
        """
        with torch.autocast(targets.masks.device.type, enabled=False):
            segments = targets.segments()
            matches = self._match(class_logits, mask_logits, targets, segments, points.matching)
            mask, dice = self._mask_losses(
                mask_logits, targets, torch.cat(segments), matches, points
            )
            classes = self._class_loss(class_logits, targets, matches)
        count = totals["masks"].clamp(min=1)
        return {
            "class": self.weights.classes * classes / totals["classes"].clamp(min=1e-6),
            "mask": self.weights.masks * mask / count,
            "dice": self.weights.dice * dice / count,
        }

    @torch.no_grad()
    def _match(
        self,
        class_logits: Sequence[Tensor],
        mask_logits: Sequence[Tensor],
        targets: Targets,
        segments: Sequence[Tensor],
        points: Tensor,
    ) -> Matches:
        counts = [len(own) for own in segments]
        present = torch.zeros(len(counts), max(counts), dtype=torch.int64)
        labels = points.new_zeros(*points.shape[:2], max(counts), points.shape[2])
        labelled = torch.ones_like(points[..., 0])
        for image, own in enumerate(segments):
            present[image, : len(own)] = torch.tensor(targets.classes[image], dtype=torch.int64)
            positions = points[:, image]
            values = sample(own[None], positions.reshape(1, -1, 2)).view(
                len(own), *positions.shape[:2]
            )
            labels[:, image, : len(own)] = values.transpose(0, 1)
            if self.spec.ignored_pixels == "excluded":
                labelled[:, image] = targets.labelled(image, positions)
        present = present.to(points.device)
        each = zip(class_logits, mask_logits, points, labels, labelled, strict=True)
        return assign(
            torch.stack(
                [pair_costs(c, m, present, p, i, w, self.weights) for c, m, p, i, w in each]
            ),
            counts,
        )

    def _class_loss(
        self, class_logits: Sequence[Tensor], targets: Targets, matches: Matches
    ) -> Tensor:
        """Sum over all queries of the cross-entropy, weighted by class."""
        logits = torch.stack([each.float().flatten(0, 1) for each in class_logits])
        ids = torch.tensor(
            [label for own in targets.classes for label in own],
            dtype=torch.int64,
            device=logits.device,
        )
        labels = torch.full(logits.shape[:2], self.num_classes, device=logits.device)
        labels.scatter_(1, matches.queries, ids[matches.segments])
        weight = logits.new_ones(self.num_classes + 1)
        weight[-1] = self.spec.no_object_weight
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), weight, reduction="sum")

    def _mask_losses(
        self,
        mask_logits: Sequence[Tensor],
        targets: Targets,
        segments: Tensor,
        matches: Matches,
        points: Points,
    ) -> tuple[Tensor, Tensor]:
        """Sums over all matched pairs of the binary cross-entropy (mean over points) and of the Dice loss."""
        chosen = zip(mask_logits, matches.queries, strict=True)
        maps = torch.cat([each.flatten(0, 1)[queries] for each, queries in chosen])
        with torch.no_grad():
            positions = self._positions(maps, targets, points)
            inside = _own_labels(segments, matches.segments, positions).flatten(0, 1)
            labelled = self._labelled(targets, positions).flatten(0, 1)
        logits = sample(maps[:, None], positions.flatten(0, 1)).squeeze(1)
        entropy = (labelled * F.softplus(logits) - logits * inside).sum(1) / labelled.sum(1).clamp(
            min=1
        )
        covered = logits.sigmoid()
        area = (covered * labelled).sum(1) + inside.sum(1)
        dice = 1 - (2 * (covered * inside).sum(1) + 1) / (area + 1)
        return entropy.sum(), dice.sum()

    def _positions(self, maps: Tensor, targets: Targets, points: Points) -> Tensor:
        """Uncertain and random points of every matched pair: L×M×P×2; maps are those of the L·M queries."""
        usable = None
        if self.spec.ignored_pixels == "excluded" and any(targets.ignored):
            usable = self._labelled(targets, points.candidates).flatten(0, 1) > 0
        number = self.spec.points - points.random.shape[2]
        uncertain = uncertain_points(maps, points.candidates.flatten(0, 1), usable, number)
        return torch.cat(
            [uncertain.view(*points.random.shape[:2], number, 2), points.random], dim=2
        )

    def _labelled(self, targets: Targets, positions: Tensor) -> Tensor:
        """How much each of the points L×M×P×2 of the matched pairs weighs: L×M×P, 0..1."""
        if self.spec.ignored_pixels == "negative":
            return torch.ones_like(positions[..., 0])
        by_image = positions.split(pairs_by_image(self.spec, targets), dim=1)
        return torch.cat(
            [targets.labelled(image, own) for image, own in enumerate(by_image)], dim=1
        )


def pairs_by_image(spec: Mask2FormerSettings, targets: Targets) -> list[int]:
    """Number of matched pairs in each image: there cannot be more than queries."""
    return [min(len(own), spec.queries) for own in targets.classes]


def loss_totals(spec: Mask2FormerSettings, targets: Targets) -> dict[str, Tensor]:
    """What Mask2Former's losses are divided by.

    Returns:
        "masks": number of segments; "classes": sum of the class weights of all queries. Scalars on the masks' device.
    """
    matched = sum(pairs_by_image(spec, targets))
    unmatched = len(targets.classes) * spec.queries - matched
    values = {
        "masks": sum(map(len, targets.classes)),
        "classes": matched + unmatched * spec.no_object_weight,
    }
    return {
        name: torch.tensor(float(value), device=targets.masks.device)
        for name, value in values.items()
    }


def _own_labels(segments: Tensor, owners: Tensor, positions: Tensor) -> Tensor:
    """Each pair's segment at its points, reading every segment once for all predictions.

    Args:
        segments: S×H×W.
        owners: L×M, the segment of each pair.
        positions: L×M×P×2.

    Returns:
        L×M×P, 0..1.
    """
    predictions, pairs = owners.shape
    rows = torch.arange(predictions, device=owners.device)[:, None]
    # Where there are more segments than queries, some have no pair in some predictions: row 0 stands in, unread.
    source = owners.new_zeros(len(segments), predictions)
    source[owners, rows] = rows * pairs + torch.arange(pairs, device=owners.device)
    grouped = positions.flatten(0, 1)[source].flatten(1, 2)
    return sample(segments[:, None], grouped).view(*source.shape, positions.shape[2])[owners, rows]
