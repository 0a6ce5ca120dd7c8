"""Tversky loss."""

from torch import Tensor

from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import TverskySpec
from encoder_ablations.segmenters.losses.dense.overlap import OverlapLoss
from encoder_ablations.segmenters.losses.dense.regions import Areas


@register_loss("tversky", TverskySpec)
class Tversky(OverlapLoss):
    """1 - (common + smooth) / (common + alpha·wrong + beta·missed + smooth).

    With alpha = beta = 1 it is the IoU loss, with 0.5 the Dice loss of twice ``smooth``.
    """

    def __init__(self, spec: TverskySpec, num_classes: int) -> None:
        super().__init__(spec, num_classes)
        self.alpha = spec.alpha
        self.beta = spec.beta

    def fraction(self, areas: Areas) -> tuple[Tensor, Tensor]:
        """See :class:`OverlapLoss`."""
        wrong = areas.predicted - areas.common
        missed = areas.true - areas.common
        errors = self.alpha * wrong + self.beta * missed
        return areas.common + self.smooth, areas.common + errors + self.smooth
