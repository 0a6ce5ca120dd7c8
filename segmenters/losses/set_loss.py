"""The set loss of Mask2Former (Cheng et al., CVPR 2022), on semantic masks.

Every class present is one segment. With ``ignored_pixels="negative"`` it is the official criterion
(``mask2former/modeling/criterion.py``), for which ignored pixels lie in no segment. With "excluded"
a point's weight is the labelled share of its bilinear support, in the loss and in the matching.
Without ignored pixels the two are the same.
"""

from collections.abc import Sequence
from itertools import chain
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.losses import set_loss_cpu, set_loss_pytorch
from encoder_ablations.segmenters.losses.matching import Matches, Weights, assign, pair_costs
from encoder_ablations.segmenters.losses.point_sampling import (
    PointCounts,
    Points,
    draw_points,
    draw_seeded_points,
)
from encoder_ablations.segmenters.losses.targets import Targets, segments_of, shown_ids
from encoder_ablations.segmenters.ops.transfers import sent
from encoder_ablations.segmenters.spec import SetLossSettings


class SetLoss:
    """Matches queries with segments and compares them, in the final and auxiliary predictions.

    Args:
        spec: its weights and points.
        num_classes: number of classes of segments, K.
        ignored_pixels: "excluded" or "negative", see above.

    Attributes:
        official_order: whether random points are drawn on the CPU, too, in the order of the
            official criterion. It is slower; set it to repeat a loss of that criterion.
    """

    def __init__(
        self, spec: SetLossSettings, num_classes: int, ignored_pixels: str = "excluded"
    ) -> None:
        self.spec = spec
        self.num_classes = num_classes
        self.ignored_pixels = ignored_pixels
        self.official_order = False
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
        counts = PointCounts(
            predictions,
            len(targets.classes),
            sum(pairs_by_image(self.spec, targets)),
            self.spec.points,
            int(self.spec.points * self.spec.oversample_ratio),
            self.spec.points - int(self.spec.importance_ratio * self.spec.points),
        )
        device = targets.masks.device
        if device.type == "cpu" and not self.official_order:
            return draw_seeded_points(counts)
        return draw_points(counts, device)

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
            matches = self._match(class_logits, mask_logits, targets, points.matching)
            chosen = zip(mask_logits, matches.queries, strict=True)
            maps = torch.stack([each.flatten(0, 1)[queries] for each, queries in chosen])
            way, excluded = _way(maps.device), self.ignored_pixels == "excluded"
            mask, dice = way.mask_terms(maps, targets, matches, points, excluded)
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
        points: Tensor,
    ) -> Matches:
        """Return the pairs of queries and segments with the least cost.

        Args:
            class_logits: L times B×Q×(K+1).
            mask_logits: L times B×Q×h×w.
            targets: the ground truth.
            points: L×B×P×2.
        """
        counts = [len(own) for own in targets.classes]
        # a column for each segment of the image that has most; the rest is not read
        present = torch.zeros(len(counts), max(counts), dtype=torch.int64)
        for row, own in zip(present, targets.classes, strict=True):
            row[: len(own)] = torch.tensor(own, dtype=torch.int64)
        way, excluded = _way(points.device), self.ignored_pixels == "excluded"
        sums = way.pair_sums(mask_logits, targets, points, excluded)
        logits, ids = torch.stack(list(class_logits)), sent(present, points.device)
        return assign(pair_costs(logits, ids, sums, self.weights), counts)

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


def _way(device: torch.device) -> ModuleType:
    """Return the module that computes on a device."""
    return set_loss_cpu if device.type == "cpu" else set_loss_pytorch
