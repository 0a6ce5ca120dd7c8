"""IoU (Jaccard) loss."""

from torch import Tensor

from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import IouSpec
from encoder_ablations.segmenters.losses.dense.overlap import OverlapLoss
from encoder_ablations.segmenters.losses.dense.regions import Areas


@register_loss("iou", IouSpec)
class Iou(OverlapLoss):
    """1 - (common + smooth) / (union + smooth)."""

    def fraction(self, areas: Areas) -> tuple[Tensor, Tensor]:
        """See :class:`OverlapLoss`."""
        union = areas.predicted + areas.true - areas.common
        return areas.common + self.smooth, union + self.smooth
