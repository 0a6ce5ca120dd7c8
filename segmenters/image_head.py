"""A second head beside the one that makes masks: the class of the whole image."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.segmenters.features import Features
from encoder_ablations.segmenters.spec import ImageHeadSpec

TERM = "image_class"
"""Name of its loss, and of what that is divided by: the number of images."""


class ImageHead(nn.Module):
    """Global average pooling of the body's last map, and a linear layer.

    It does not read the neck's levels: a norm there leaves a mean over the image nothing to tell.
    It has no norm of its own, so that accumulation is exact.

    Attributes:
        num_classes: classes of whole images.
        reduction: image pixels per step of the map.
    """

    def __init__(
        self, spec: ImageHeadSpec, num_classes: int, channels: int, reduction: float
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight = spec.weight
        self.reduction = reduction
        self.classifier = nn.Linear(channels, num_classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features: Features) -> Tensor:
        """Return the logits B×K of B images; what is padding alone is not part of the mean."""
        rows, columns = (self._steps(side) for side in features.image_size)
        inside = features.maps[-1][..., :rows, :columns]
        logits: Tensor = self.classifier(inside.mean(dim=(2, 3)))
        return logits

    def _steps(self, side: int) -> int:
        """Return how many steps of the map cover ``side`` pixels of an image."""
        if self.reduction == int(self.reduction):
            # in whole numbers, which programs of torch.export know for any size
            step = int(self.reduction)
            return (side + step - 1) // step
        return math.ceil(side / self.reduction)

    def loss(self, features: Features, image_classes: Tensor, total: Tensor) -> Tensor:
        """Return the weighted cross-entropy in float32, a scalar.

        Args:
            features: of B images.
            image_classes: B int64 class ids.
            total: images of the whole batch, by which the sum is divided.
        """
        logits = self(features).float()
        with torch.autocast(logits.device.type, enabled=False):
            value = F.cross_entropy(logits, image_classes, reduction="sum")
            return self.weight * value / total
