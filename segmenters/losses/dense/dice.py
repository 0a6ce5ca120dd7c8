"""Dice loss."""

from torch import Tensor

from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import DiceSpec
from encoder_ablations.segmenters.losses.dense.overlap import OverlapLoss
from encoder_ablations.segmenters.losses.dense.regions import Areas


@register_loss("dice", DiceSpec)
class Dice(OverlapLoss):
    """1 - (2·common + smooth) / (predicted + true + smooth)."""

    def fraction(self, areas: Areas) -> tuple[Tensor, Tensor]:
        """See :class:`OverlapLoss`."""
        both = areas.predicted + areas.true
        return 2 * areas.common + self.smooth, both + self.smooth
