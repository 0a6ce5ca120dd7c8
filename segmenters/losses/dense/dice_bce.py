"""Dice loss and binary cross-entropy together."""

from torch import Tensor

from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import DiceBceSpec
from encoder_ablations.segmenters.losses.dense.dice import Dice
from encoder_ablations.segmenters.losses.dense.regions import binary_entropy


@register_loss("dice_bce", DiceBceSpec)
class DiceBce(Dice):
    """A weighted sum of both, per image: the mean over images that have a labelled pixel."""

    def __init__(self, spec: DiceBceSpec, num_classes: int) -> None:
        super().__init__(spec, num_classes)
        self.dice = spec.dice
        self.bce = spec.bce

    def by_image(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the loss of each image: B, 0 without labels."""
        labelled = (masks != self.ignore).sum((1, 2))
        entropy = binary_entropy(logits, masks, self.ignore).sum((1, 2)) / labelled.clamp(min=1)
        return self.dice * super().by_image(logits, masks) + self.bce * entropy
