"""Cross-entropy of the softmax."""

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.class_weights import weights_in_order
from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import CrossEntropySpec


@register_loss("cross_entropy", CrossEntropySpec)
class CrossEntropy(DenseLoss):
    """The cross-entropy of labelled pixels, divided by the sum of their classes' weights."""

    class_weights: Tensor | None

    def __init__(self, spec: CrossEntropySpec, num_classes: int) -> None:
        super().__init__(spec, num_classes)
        self.label_smoothing = spec.label_smoothing
        weights = weights_in_order(spec.class_weights, num_classes)
        values = None
        if weights is not None:
            values = torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("class_weights", values, persistent=False)

    def total(self, masks: Tensor) -> Tensor:
        """Return the sum of the class weights of the labelled pixels of masks B×H×W."""
        if self.class_weights is None:
            return super().total(masks)
        # one row for every id that a mask may hold; ignored pixels weigh nothing
        table = masks.new_zeros(self.ignore + 1, dtype=torch.float32)
        table[: self.num_classes] = self.class_weights
        return table[masks].sum()

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """See :class:`DenseLoss`."""
        return F.cross_entropy(
            logits,
            masks,
            weight=self.class_weights,
            ignore_index=self.ignore,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
