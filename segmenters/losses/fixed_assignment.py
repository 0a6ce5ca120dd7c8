"""The loss of queries that answer for one class each, whatever they predict.

It is that of a hybrid of DarkNet and queries (https://github.com/mohamed-naser-awd/
hybrid-segmentation-model), which has one class: query 0 is the object, all other queries say "no
object" and have empty masks. Here query k answers for class k of an image that shows class k.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from encoder_ablations.segmenters.losses.targets import Targets
from encoder_ablations.segmenters.ops.transfers import sent
from encoder_ablations.segmenters.spec import SetLossSettings

NOT_COUNTED = -100
"""The label that PyTorch's cross-entropy leaves out."""


class FixedAssignmentLoss:
    """Cross-entropy of every query's class and binary cross-entropy of every query's mask.

    Dice loss, of the masks of those queries that answer for a class of the image, is optional. The
    means are over all queries, labelled pixels and images. An image without a labelled pixel counts
    nowhere.

    Args:
        spec: its weights.
        num_classes: number of classes of segments, K; at most as many as queries.
    """

    def __init__(self, spec: SetLossSettings, num_classes: int) -> None:
        self.spec = spec
        self.num_classes = num_classes

    def totals(self, targets: Targets) -> dict[str, Tensor]:
        """Return the divisors of the terms.

        Returns:
            Scalars on the masks' device. "classes": sum of the class weights of all queries;
            "pixels": number of labelled pixels; "objects": number of classes, over the images.
        """
        labels, masks = self._labels(targets), targets.masks
        weights = self._class_weights(masks.device)[labels.clamp(min=0)]
        objects = sum(map(len, targets.classes))
        return {
            "classes": (weights * (labels != NOT_COUNTED)).sum(),
            "pixels": (masks != targets.ignore).sum().float(),
            "objects": torch.full((), float(objects), device=masks.device),
        }

    def __call__(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        targets: Targets,
        totals: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return the loss, in float32 whatever the surrounding autocast.

        Args:
            class_logits: B×Q×(K+1); the last class is "no object".
            mask_logits: B×Q×h×w; they are enlarged to the size of the masks.
            targets: the ground truth.
            totals: see :meth:`totals`.

        Returns:
            "class" and "mask", and "dice" where its weight is above 0; weighted.
        """
        device = targets.masks.device
        with torch.autocast(device.type, enabled=False):
            classes = F.cross_entropy(
                class_logits.float().flatten(0, 1),
                self._labels(targets).flatten(),
                self._class_weights(device),
                reduction="sum",
            )
            entropy, dice = self._mask_sums(mask_logits.float(), targets)
        values = totals["pixels"].clamp(min=1) * self.spec.queries
        losses = {
            "class": self.spec.class_weight * classes / totals["classes"].clamp(min=1e-6),
            "mask": self.spec.mask_weight * entropy / values,
        }
        if self.spec.dice_weight:
            losses["dice"] = self.spec.dice_weight * dice / totals["objects"].clamp(min=1)
        return losses

    def _labels(self, targets: Targets) -> Tensor:
        """Return the class that every query is to say, B×Q int64."""
        # the last class is "no object"
        labels = torch.full((len(targets.classes), self.spec.queries), self.num_classes)
        for own, classes in zip(labels, targets.classes, strict=True):
            own[list(classes)] = torch.tensor(classes, dtype=torch.int64)
        labelled = (targets.masks != targets.ignore).flatten(1).any(dim=1)
        return sent(labels, labelled.device).masked_fill(~labelled[:, None], NOT_COUNTED)

    def _class_weights(self, device: torch.device) -> Tensor:
        """Return the weight of each of the K + 1 classes."""
        weights = torch.ones(self.num_classes + 1, device=device)
        weights[-1] = self.spec.no_object_weight
        return weights

    def _mask_sums(self, mask_logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Return the sums of cross-entropy and Dice loss over all images.

        The masks of all queries at full size would fill a GPU. So one image is computed at a time,
        and once more for its gradient.
        """
        sums = []
        for image, classes in enumerate(targets.classes):
            own = (mask_logits[image], targets.masks[image], classes, targets.ignore)
            sums.append(torch.stack(checkpoint(_image_sums, *own, use_reentrant=False)))
        entropy, dice = torch.stack(sums).sum(dim=0)
        return entropy, dice


def _image_sums(
    logits: Tensor, mask: Tensor, classes: Sequence[int], ignore: int
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of all queries and pixels, and the Dice loss of all classes.

    Args:
        logits: Q×h×w.
        mask: H×W class ids.
        classes: those that the image shows; the query of the same number answers for each.
        ignore: the id of ignored pixels.
    """
    size = list(mask.shape)
    large = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
    labelled = mask != ignore
    ids = sent(torch.tensor(classes, dtype=torch.int64), mask.device)
    # T×H×W: the pixels of every class, and the logits of its query
    inside, own = (mask == ids[:, None, None]).float(), large[ids]
    # binary cross-entropy: softplus(x) - x·label, where the masks of all other queries are empty
    entropy = (F.softplus(large) * labelled).sum() - (own * inside).sum()
    # Dice loss: 1 - 2·|intersection| / (|predicted| + |true|), with 1 added to both
    covered = own.sigmoid() * labelled
    overlap = 2 * (covered * inside).sum(dim=(1, 2)) + 1
    area = covered.sum(dim=(1, 2)) + inside.sum(dim=(1, 2)) + 1
    return entropy, (1 - overlap / area).sum()
