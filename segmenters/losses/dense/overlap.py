"""What the losses that compare areas share."""

from abc import abstractmethod

from torch import Tensor

from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_spec import OverlapSpec
from encoder_ablations.segmenters.losses.dense.regions import (
    Areas,
    labelled_images,
    softmax_areas,
)

LEAST_AREA = 1e-7
"""Least denominator: without ``smooth`` a class may be neither there nor predicted."""


class OverlapLoss(DenseLoss):
    """One less the overlap of predicted and true areas: the mean over images and classes.

    The value of an image depends on no other image, so that micro-batches add up. Images without
    a labelled pixel are not counted.
    """

    def __init__(self, spec: OverlapSpec, num_classes: int) -> None:
        super().__init__(spec, num_classes)
        self.smooth = spec.smooth

    def total(self, masks: Tensor) -> Tensor:
        """Return the number of masks B×H×W that have a labelled pixel."""
        return labelled_images(masks, self.ignore).sum().float()

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """See :class:`DenseLoss`."""
        return self.by_image(logits, masks).sum()

    def by_image(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the loss of each image, the mean over all classes: B, 0 without labels."""
        numerator, denominator = self.fraction(softmax_areas(logits, masks, self.ignore))
        loss = 1 - numerator / denominator.clamp(min=LEAST_AREA)
        return loss.mean(1) * labelled_images(masks, self.ignore)

    @abstractmethod
    def fraction(self, areas: Areas) -> tuple[Tensor, Tensor]:
        """Return numerator and denominator of the overlap of each class in each image: B×K."""
