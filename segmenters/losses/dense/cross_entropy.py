"""Cross-entropy of the softmax."""

from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import CrossEntropySpec


@register_loss("cross_entropy", CrossEntropySpec)
class CrossEntropy(DenseLoss):
    """The cross-entropy of every labelled pixel, divided by the number of labelled pixels."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """See :class:`DenseLoss`."""
        return F.cross_entropy(logits, masks, ignore_index=self.ignore, reduction="sum")
