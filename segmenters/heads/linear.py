"""The linear head: what can be read off the features without a decoder."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from encoder_ablations.data.datasets.sample import IGNORE, ignore_label
from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import LinearSpec


@register_head("linear", LinearSpec, reads="maps")
class LinearHead(Head):
    """All levels at the first one's stride, concatenated, BatchNorm, 1×1 convolution.

    On the bare taps of a frozen encoder (``neck: none``) this is how DINOv2 (Oquab et al., 2023)
    evaluates. The levels are resized before the BatchNorm, although a linear map commutes with
    bilinear resizing: in training the BatchNorm divides by the variance of the resized maps, which
    is smaller.
    """

    def __init__(self, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__()
        self.ignore = ignore_label(num_classes)
        self.names = [level.name for level in levels]
        self.stride = levels[0].stride
        channels = sum(level.channels for level in levels)
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size=1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.get_parameter("bias"))

    @classmethod
    def build(cls, spec: LinearSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(num_classes, encoder.levels)

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return the number of labelled "pixels" of masks B×H×W int64."""
        return {"pixels": (masks != self.ignore).sum().float()}

    def loss(
        self, pyramid: dict[str, Tensor], masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the cross-entropy at the masks' size, averaged over labelled pixels: "class".

        Args:
            pyramid: levels B×C×h×w.
            masks: B×H×W int64.
            totals: "pixels" is the number of labelled pixels to divide by.
        """
        scores = self(pyramid).float()
        if self.ignore == IGNORE:
            total = self._entropy(scores, masks)
        else:
            # logits of very many classes at full size would fill a GPU: one image at a time
            parts = zip(torch.split(scores, 1), torch.split(masks, 1), strict=True)
            sums = [checkpoint(self._entropy, *part, use_reentrant=False) for part in parts]
            total = torch.stack(sums).sum()
        return {"class": total / totals["pixels"].clamp(min=1)}

    def _entropy(self, scores: Tensor, masks: Tensor) -> Tensor:
        """Return the cross-entropy of scores B×K×h×w at masks B×H×W, summed over their labels."""
        logits = _resized(scores, masks.shape[-2:])
        return F.cross_entropy(logits, masks, ignore_index=self.ignore, reduction="sum")

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Return the class logits at the first level's stride."""
        return ScoreMaps(self(pyramid), image_size, stride=self.stride)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×h×w of a pyramid, at the size of its first level."""
        first, *others = (pyramid[name] for name in self.names)
        finest = [first, *(_resized(each, first.shape[-2:]) for each in others)]
        logits: Tensor = self.classifier(self.norm(torch.cat(finest, dim=1)))
        return logits


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, size=list(size), mode="bilinear", align_corners=False)
