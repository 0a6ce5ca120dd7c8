"""The set loss of Mask2Former (Cheng et al., CVPR 2022), on semantic masks.

Every class present is one segment. With ``ignored_pixels="negative"`` it is the official criterion
(``mask2former/modeling/criterion.py``), for which ignored pixels lie in no segment. With "excluded"
a point's weight is the labelled share of its bilinear support, in the loss and in the matching.
Without ignored pixels the two are the same.
"""

from collections.abc import Sequence
from itertools import chain

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
from encoder_ablations.segmenters.losses.targets import Targets, segments_of, shown_ids
from encoder_ablations.segmenters.spec import SetLossSettings
from encoder_ablations.utils.transfers import sent


class SetLoss:
    """Matches queries with segments and compares them, in the final and auxiliary predictions.

    Args:
        spec: its weights and points.
        num_classes: number of classes of segments, K.
        ignored_pixels: "excluded" or "negative", see above.
    """

    def __init__(
        self, spec: SetLossSettings, num_classes: int, ignored_pixels: str = "excluded"
    ) -> None:
        self.spec = spec
        self.num_classes = num_classes
        self.ignored_pixels = ignored_pixels
        self.weights = Weights(spec.class_weight, spec.mask_weight, spec.dice_weight)

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return the divisors of the terms, see :func:`set_totals`.

        Their sums over micro-batches and processes are those of the whole batch.

        Args:
            masks: B×H×W int64 class ids, see :func:`.targets.find_targets`.
        """
        return set_totals(self.spec, masks, self.num_classes)

    def draw(self, predictions: int, targets: Targets) -> Points:
        """Return random points for this many predictions, the final and the auxiliary ones.

        They come from the device's global generator.
        """
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
        """Return the loss, in float32 whatever the surrounding autocast.

        Args:
            class_logits: L times B×Q×(K+1), the final prediction first, then the auxiliary ones.
                The last class is "no object".
            mask_logits: L times B×Q×h×w.
            targets: see :func:`.targets.find_targets`.
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
        """Return the pairs of queries and segments with the least cost.

        Args:
            class_logits: L times B×Q×(K+1).
            mask_logits: L times B×Q×h×w.
            targets: the ground truth.
            segments: T×H×W of each image.
            points: L×B×P×2.
        """
        counts = [len(own) for own in segments]
        # tables with a column for each segment of the image that has most; the rest is not read
        present = torch.zeros(len(counts), max(counts), dtype=torch.int64)
        labels = points.new_zeros(*points.shape[:2], max(counts), points.shape[2])
        labelled = torch.ones_like(points[..., 0])
        for image, own in enumerate(segments):
            present[image, : len(own)] = torch.tensor(targets.classes[image], dtype=torch.int64)
            positions = points[:, image]
            values = sample(own[None], positions.reshape(1, -1, 2))
            by_prediction = values.view(len(own), *positions.shape[:2]).transpose(0, 1)
            labels[:, image, : len(own)] = by_prediction
            if self.ignored_pixels == "excluded":
                labelled[:, image] = targets.labelled(image, positions)
        present = sent(present, points.device)
        each = zip(class_logits, mask_logits, points, labels, labelled, strict=True)
        costs = [pair_costs(c, m, present, p, i, w, self.weights) for c, m, p, i, w in each]
        return assign(torch.stack(costs), counts)

    def _class_loss(
        self, class_logits: Sequence[Tensor], targets: Targets, matches: Matches
    ) -> Tensor:
        """Return the sum over all queries of the cross-entropy, weighted by class."""
        logits = torch.stack([each.float().flatten(0, 1) for each in class_logits])
        own = list(chain.from_iterable(targets.classes))
        ids = sent(torch.tensor(own, dtype=torch.int64), logits.device)
        # a query without a segment is to say "no object", the last class
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
        """Return the sums over all matched pairs of the cross-entropy and of the Dice loss.

        Args:
            mask_logits: L times B×Q×h×w.
            targets: the ground truth.
            segments: S×H×W, those of all images.
            matches: the pairs.
            points: where they are compared.
        """
        chosen = zip(mask_logits, matches.queries, strict=True)
        maps = torch.cat([each.flatten(0, 1)[queries] for each, queries in chosen])
        with torch.no_grad():
            positions = self._positions(maps, targets, points)
            inside = _own_labels(segments, matches.segments, positions).flatten(0, 1)
            labelled = self._labelled(targets, positions).flatten(0, 1)
        logits = sample(maps[:, None], positions.flatten(0, 1)).squeeze(1)
        # binary cross-entropy, the mean over labelled points
        entropy = (labelled * F.softplus(logits) - logits * inside).sum(1)
        entropy = entropy / labelled.sum(1).clamp(min=1)
        # Dice loss, over labelled points
        covered = logits.sigmoid()
        area = (covered * labelled).sum(1) + inside.sum(1)
        dice = 1 - (2 * (covered * inside).sum(1) + 1) / (area + 1)
        return entropy.sum(), dice.sum()

    def _positions(self, maps: Tensor, targets: Targets, points: Points) -> Tensor:
        """Return the uncertain and the random points of every matched pair: L×M×P×2.

        Args:
            maps: L·M×h×w mask logits of the matched queries.
            targets: the ground truth.
            points: the candidates, and the random points.
        """
        usable = None
        if self.ignored_pixels == "excluded" and any(targets.ignored):
            usable = self._labelled(targets, points.candidates).flatten(0, 1) > 0
        number = self.spec.points - points.random.shape[2]
        uncertain = uncertain_points(maps, points.candidates.flatten(0, 1), usable, number)
        by_pair = uncertain.view(*points.random.shape[:2], number, 2)
        return torch.cat([by_pair, points.random], dim=2)

    def _labelled(self, targets: Targets, positions: Tensor) -> Tensor:
        """Return the weight of each of the points L×M×P×2 of the matched pairs: L×M×P, 0..1."""
        if self.ignored_pixels == "negative":
            return torch.ones_like(positions[..., 0])
        by_image = torch.split(positions, pairs_by_image(self.spec, targets), dim=1)
        weights = [targets.labelled(image, own) for image, own in enumerate(by_image)]
        return torch.cat(weights, dim=1)


def pairs_by_image(spec: SetLossSettings, targets: Targets) -> list[int]:
    """Return the number of matched pairs in each image: its segments, at most the queries."""
    return [min(len(own), spec.queries) for own in targets.classes]


def set_totals(
    spec: SetLossSettings, masks: Tensor, num_classes: int, background: int | None = None
) -> dict[str, Tensor]:
    """Return the divisors of Mask2Former's losses. They are counted on the masks' device.

    Args:
        spec: number of queries, and the weight of "no object".
        masks: B×H×W int64 class ids, see :func:`.targets.find_targets`.
        num_classes: number of classes of the masks, K.
        background: id of a class that is no segment.

    Returns:
        Scalars. "masks": number of segments; "classes": sum of the class weights of all queries.
    """
    segments = segments_of(shown_ids(masks, num_classes), num_classes, background).sum(dim=1)
    # in float64, as Python computes
    matched = segments.clamp(max=spec.queries).sum().double()
    unmatched = len(masks) * spec.queries - matched
    weight = matched + unmatched * spec.no_object_weight
    return {"masks": segments.sum().float(), "classes": weight.float()}


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
