"""The linear head: how much can be read off the features without a decoder."""

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
from encoder_ablations.segmenters.spec import HeadSpec


class LinearSpec(HeadSpec):
    """BatchNorm and a 1×1 convolution on the encoder's levels, brought to the size of the first and concatenated."""


@register_head("linear", LinearSpec, reads="maps")
class LinearHead(Head):
    """All levels at the first one's stride, concatenated, BatchNorm, 1×1 convolution.

    On the bare taps of a frozen encoder (``neck: none``) this is how DINOv2 (Oquab et al., 2023) evaluates. The levels
    are resized before the BatchNorm, although a linear map commutes with bilinear resizing: in training the BatchNorm
    divides by the variance of the resized maps, which is smaller.
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
        """Number of labelled "pixels" of masks B×H×W int64."""
        return {"pixels": (masks != self.ignore).sum().float()}

    def loss(
        self, pyramid: dict[str, Tensor], masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Cross-entropy at the masks' size, summed over labelled pixels, divided by ``totals["pixels"]``: "class"."""
        scores = self(pyramid).float()
        if self.ignore == IGNORE:
            total = self._entropy(scores, masks)
        else:  # of very many classes the logits of a batch at full size would fill a GPU
            parts = zip(scores.split(1), masks.split(1), strict=True)
            total = torch.stack(
                [checkpoint(self._entropy, *part, use_reentrant=False) for part in parts]
            ).sum()
        return {"class": total / totals["pixels"].clamp(min=1)}

    def _entropy(self, scores: Tensor, masks: Tensor) -> Tensor:
        """Sum of the cross-entropy of scores B×K×h×w, resized to the masks' B×H×W, over labelled pixels."""
        logits = F.interpolate(scores, size=masks.shape[-2:], mode="bilinear", align_corners=False)
        return F.cross_entropy(logits, masks, ignore_index=self.ignore, reduction="sum")

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Class logits at the first level's stride."""
        return ScoreMaps(self(pyramid), image_size, stride=self.stride)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Pyramid -> logits B×K×h×w at the size of its first level."""
        maps = [pyramid[name] for name in self.names]
        size = maps[0].shape[-2:]
        finest = [
            maps[0],
            *(
                F.interpolate(each, size=size, mode="bilinear", align_corners=False)
                for each in maps[1:]
            ),
        ]
        return self.classifier(self.norm(torch.cat(finest, dim=1)))
