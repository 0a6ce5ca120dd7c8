"""Focal loss."""

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import FocalSpec
from encoder_ablations.segmenters.losses.dense.regions import own_pixels


@register_loss("focal", FocalSpec)
class Focal(DenseLoss):
    """The focal loss of Lin et al. (ICCV 2017), one class against all others.

    They sum over the classes and divide by the number of positive examples. Every labelled pixel
    is a positive example of one class, so this number is that of the labelled pixels.
    """

    def __init__(self, spec: FocalSpec, num_classes: int) -> None:
        super().__init__(spec, num_classes)
        self.alpha = spec.alpha
        self.gamma = spec.gamma

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """See :class:`DenseLoss`."""
        own = own_pixels(masks, self.num_classes)
        # the logit of what is right: p_t = sigmoid(right)
        right = torch.where(own, logits, -logits)
        # eq. 5, -alpha_t (1 - p_t)^gamma log(p_t); in logarithms its gradient is always finite
        factor = (self.gamma * F.logsigmoid(-right)).exp()
        alpha = torch.where(own, self.alpha, 1 - self.alpha)
        loss = -alpha * factor * F.logsigmoid(right)
        return (loss.sum(1) * (masks != self.ignore)).sum()
