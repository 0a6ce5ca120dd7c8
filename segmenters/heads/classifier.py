"""The head of classification: one class for the whole image, read off the pooled features."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import ClassifierSpec


@register_head("classifier", ClassifierSpec, reads="maps")
class ClassifierHead(DenseHead):
    """Global average pooling, BatchNorm without weights, a linear layer.

    The logits are B×K×1×1: to losses, metrics and records an image is one pixel. On a frozen
    encoder this is the linear probe of MAE (He et al., CVPR 2022, appendix A).
    """

    task: Task = "classification"

    def __init__(self, spec: ClassifierSpec, num_classes: int, levels: Sequence[Level]) -> None:
        super().__init__(spec, num_classes)
        read = list(levels)
        if spec.pooled == "last":
            read = read[-1:]
        self.levels = tuple(level.name for level in read)
        self.stride = 1
        channels = sum(level.channels for level in read)
        self.norm: nn.Module = nn.Identity()
        if spec.normalize:
            self.norm = nn.BatchNorm2d(channels, affine=False)
            self.least_images = 2
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size=1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.get_parameter("bias"))

    @classmethod
    def build(cls, spec: ClassifierSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for the encoder's levels."""
        return cls(spec, num_classes, encoder.levels)

    def forward(self, pyramid: dict[str, Tensor]) -> Tensor:
        """Return the logits B×K×1×1 of a pyramid of levels B×C×h×w."""
        assert self.levels is not None
        means = [pyramid[name].mean(dim=(2, 3), keepdim=True) for name in self.levels]
        logits: Tensor = self.classifier(self.norm(torch.cat(means, dim=1)))
        return logits

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Return the logits as the scores of an image of one pixel, equal at any size."""
        return ScoreMaps(self(pyramid), image_size=(1, 1), stride=self.stride)
