"""The one thing that every quality metric is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from encoder_ablations.data.sample import ignore_label

if TYPE_CHECKING:  # reports compute metrics without PyTorch
    from torch import Tensor


@dataclass(frozen=True)
class ConfusionMatrix:
    """Pixel counts.

    Attributes:
        counts: K×K int64; rows are ground truth, columns are predictions. Ignored pixels are not in it.
    """

    counts: np.ndarray

    @classmethod
    def empty(cls, classes: int) -> ConfusionMatrix:
        return cls(np.zeros((classes, classes), dtype=np.int64))

    @classmethod
    def of(cls, prediction: Tensor, truth: Tensor, classes: int) -> ConfusionMatrix:
        """Counts one image (or batch).

        Args:
            prediction: class ids in 0..classes-1, any integer type.
            truth: class ids of the same shape, ``ignore_label(classes)`` = ignore.
            classes: K.
        """
        import torch

        row = truth.flatten().to(torch.int32)
        row = torch.where(
            row == ignore_label(classes), classes, row
        )  # ignored pixels go to an extra row that is cut off
        cells = torch.bincount(row * classes + prediction.flatten().to(torch.int32), minlength=classes * (classes + 1))
        return cls(cells[: classes * classes].view(classes, classes).cpu().numpy().astype(np.int64))

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        return ConfusionMatrix(self.counts + other.counts)
