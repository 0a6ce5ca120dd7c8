"""The one thing that every quality metric is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.utils.errors import InputError

if TYPE_CHECKING:  # reports compute metrics without PyTorch
    from torch import Tensor

INT32_CLASSES = 2**15 - 1
"""Most classes whose cells, also those of every 16-bit id, are numbered in int32."""


class ClassSums(NamedTuple):
    """Pixels of each class, float64 (K,).

    Attributes:
        hits: those that are predicted as what they are.
        truth: those of the ground truth.
        predicted: those of the prediction.
    """

    hits: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class ConfusionMatrix:
    """Pixel counts.

    Attributes:
        counts: K×K int64; rows are ground truth, columns are predictions. Ignored pixels are not
            counted.
    """

    counts: np.ndarray

    @classmethod
    def empty(cls, classes: int) -> ConfusionMatrix:
        """Return the matrix of no pixels."""
        return cls(np.zeros((classes, classes), dtype=np.int64))

    @classmethod
    def of(cls, prediction: Tensor, truth: Tensor, classes: int) -> ConfusionMatrix:
        """Count one image (or batch).

        Args:
            prediction: class ids in 0..classes-1, any integer type.
            truth: class ids of the same shape, any integer type; ``ignore_label(classes)`` =
                ignore.
            classes: K.

        Raises:
            InputError: an id that is no class, tensors of two shapes, or of another type.
        """
        import torch

        ignore = ignore_label(classes)
        prediction, truth = _checked(prediction, truth)
        if not truth.numel():
            return cls.empty(classes)
        kind = torch.int32
        if classes > INT32_CLASSES:
            kind = torch.int64
        # The ignored id has all bits set: adding 1 makes it row 0, and class k row k + 1.
        row = (truth.flatten().to(kind) + 1).bitwise_and_(ignore)
        # one transfer from a GPU for all six numbers
        ends = [*prediction.aminmax(), *truth.aminmax(), *row.aminmax()]
        least, most, lowest, highest, _, last_row = torch.stack(
            [end.long() for end in ends]
        ).tolist()
        if least < 0 or most >= classes:
            raise _unknown_id("prediction", prediction, f"0..{classes - 1}", classes)
        if lowest < 0 or highest > ignore or last_row > classes:
            allowed = f"0..{classes - 1}, or {ignore} to ignore"
            raise _unknown_id("truth", truth, allowed, classes, ignore)
        cells = row.mul_(classes).add_(prediction.flatten().to(kind))
        counts = torch.bincount(cells, minlength=(classes + 1) * classes).view(classes + 1, classes)
        return cls(counts[1:].cpu().numpy().astype(np.int64))

    @cached_property
    def sums(self) -> ClassSums:
        """Return the pixels of each class, from which most metrics follow."""
        counts = self.counts.astype(np.float64)
        return ClassSums(np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0))

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        return ConfusionMatrix(self.counts + other.counts)


def _checked(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return both tensors in types for which PyTorch finds extremes: not unsigned 16 to 64 bits."""
    if prediction.shape != truth.shape:
        shapes = f"prediction {tuple(prediction.shape)}, truth {tuple(truth.shape)}"
        raise InputError(
            f"confusion matrix: both tensors must have the same shape. Given: {shapes}."
        )
    for name, ids in (("prediction", prediction), ("truth", truth)):
        if ids.is_floating_point() or ids.is_complex():
            raise InputError(f"confusion matrix: {name} must hold integers. Given: {ids.dtype}.")
    return _comparable(prediction), _comparable(truth)


def _comparable(ids: Tensor) -> Tensor:
    import torch

    if ids.dtype in (torch.uint16, torch.uint32, torch.uint64):
        return ids.long()
    return ids


def _unknown_id(
    name: str, ids: Tensor, allowed: str, classes: int, ignore: int | None = None
) -> InputError:
    """Return the error that names the smallest id which is neither a class nor ``ignore``."""
    ids = ids.long()
    wrong = (ids < 0) | (ids >= classes)
    if ignore is not None:
        wrong &= ids != ignore
    smallest, pixels = int(ids[wrong].min()), int(wrong.sum())
    return InputError(
        f"confusion matrix: {name} holds the class id {smallest} "
        f"(pixels with unknown ids: {pixels}). Allowed: {allowed}."
    )
