"""The contract of a loss of a dense head: sums over images, and what they are divided by."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.segmenters.loss_spec import LossSpec


class DenseLoss(nn.Module):
    """A loss of class logits at the masks' size: its value is a sum divided by a total.

    Both are sums over images. So the loss of a large batch is the sum of those of its parts, each
    divided by the total of the whole batch. Ignored pixels take no part: the value is as if they
    were cropped away, and 0 where every pixel is ignored.

    Attributes:
        num_classes: K.
        ignore: the id of ignored pixels in masks.
        spec_type: what the settings of such losses are derived from.
    """

    spec_type: ClassVar[type[LossSpec]] = LossSpec

    def __init__(self, spec: Any, num_classes: int) -> None:
        """Take over the settings.

        Args:
            spec: an object of the class that the loss was registered with.
            num_classes: number of classes, K.
        """
        super().__init__()
        self.num_classes = num_classes
        self.ignore = ignore_label(num_classes)

    def total(self, masks: Tensor) -> Tensor:
        """Return what the sum is divided by: here the number of labelled pixels.

        It follows from the masks alone, and adds up over images.

        Args:
            masks: B×H×W int64 class ids, ``ignore`` = ignored.

        Returns:
            A scalar, float32.
        """
        return (masks != self.ignore).sum().float()

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the sum over the images, a scalar.

        Args:
            logits: B×K×H×W float32.
            masks: B×H×W int64 class ids, ``ignore`` = ignored.
        """
        raise NotImplementedError


def divided(value: Tensor, total: Tensor) -> Tensor:
    """Return a sum divided by its total, or by 1 where nothing counts."""
    return value / torch.where(total > 0, total, torch.ones_like(total))
