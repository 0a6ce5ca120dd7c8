"""Binary cross-entropy of one class against all others."""

from torch import Tensor

from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import BceSpec
from encoder_ablations.segmenters.losses.dense.regions import binary_entropy


@register_loss("bce", BceSpec)
class Bce(DenseLoss):
    """The mean over classes of each labelled pixel, divided by the number of labelled pixels."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """See :class:`DenseLoss`."""
        return binary_entropy(logits, masks, self.ignore).sum()
