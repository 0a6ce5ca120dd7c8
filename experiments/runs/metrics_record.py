"""The quality metrics of a record, which all follow from one confusion matrix."""

import math
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from encoder_ablations.data.datasets.class_map import OTHER
from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.engine.evaluation import metrics as m
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix


class MetricsRecord(BaseModel):
    """Quality in 0..1 on the report split, from one confusion matrix; None = nothing to divide by.

    Attributes:
        miou: mean IoU over the classes present in the ground truth (Detectron2's rule).
        miou_union: over the classes present in ground truth or prediction (torchmetrics').
        miou_all: over all classes, with 0 for absent ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    miou: float | None
    miou_union: float | None
    miou_all: float
    mean_class_accuracy: float | None
    pixel_accuracy: float | None
    frequency_weighted_iou: float | None
    per_class_iou: dict[str, float | None]
    per_class_dice: dict[str, float | None]
    per_class_accuracy: dict[str, float | None]

    @property
    def main(self) -> float | None:
        """The number that chooses checkpoints and ranks encoders: the mIoU."""
        return self.miou

    @property
    def by_class(self) -> dict[str, float | None]:
        """The IoU of each class."""
        return self.per_class_iou


class ClassificationRecord(BaseModel):
    """Quality of the classes of whole images in 0..1, from one confusion matrix of images.

    None = nothing to divide by.

    Attributes:
        accuracy: share of the images whose class is right.
        balanced_accuracy: mean recall over the classes present in the ground truth.
        macro_f1: mean F1 over the classes present in ground truth or prediction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    accuracy: float | None
    balanced_accuracy: float | None
    macro_f1: float | None
    per_class_recall: dict[str, float | None]
    per_class_precision: dict[str, float | None]
    per_class_f1: dict[str, float | None]

    @property
    def main(self) -> float | None:
        """The number that chooses checkpoints and ranks encoders: the accuracy."""
        return self.accuracy

    @property
    def by_class(self) -> dict[str, float | None]:
        """The recall of each class."""
        return self.per_class_recall


class ImageClassesRecord(BaseModel):
    """How well the classes of whole images are predicted beside the masks, on the report split.

    Attributes:
        metrics: they follow from the confusion matrix.
        confusion_matrix: images; rows are ground truth, columns are predictions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: ClassificationRecord
    confusion_matrix: list[list[int]]

    @model_validator(mode="after")
    def _metrics_follow(self) -> Self:
        classes = tuple(self.metrics.per_class_recall)
        if [len(row) for row in self.confusion_matrix] != [len(classes)] * len(classes):
            raise ValueError(f"its confusion matrix is not one of {len(classes)} classes")
        counts = ConfusionMatrix(np.array(self.confusion_matrix, dtype=np.int64))
        wrong = wrong_metric(self.metrics, classification_record(counts, classes))
        if wrong is not None:
            raise ValueError(f"a metric is not that of its confusion matrix ({wrong})")
        return self


def image_classes_record(
    confusion: ConfusionMatrix | None, classes: tuple[str, ...] | None
) -> ImageClassesRecord | None:
    """Return the result for the classes of whole images; None for a run without them."""
    if confusion is None or classes is None:
        return None
    return ImageClassesRecord(
        metrics=classification_record(confusion, classes),
        confusion_matrix=confusion.counts.tolist(),
    )


TaskMetrics = MetricsRecord | ClassificationRecord


def task_metrics(task: Task, confusion: ConfusionMatrix, classes: tuple[str, ...]) -> TaskMetrics:
    """Return all metrics of a task that follow from one confusion matrix."""
    if task == "classification":
        return classification_record(confusion, classes)
    return metrics_record(confusion, classes)


def classification_record(
    confusion: ConfusionMatrix, classes: tuple[str, ...]
) -> ClassificationRecord:
    """Return all metrics of a confusion matrix of images, with None for NaN."""
    return ClassificationRecord(
        accuracy=m.number_or_none(m.pixel_accuracy(confusion)),
        balanced_accuracy=m.number_or_none(m.mean_class_accuracy(confusion)),
        macro_f1=m.number_or_none(m.macro_f1(confusion)),
        per_class_recall=_by_class(classes, m.class_accuracy(confusion)),
        per_class_precision=_by_class(classes, m.class_precision(confusion)),
        per_class_f1=_by_class(classes, m.class_dice(confusion)),
    )


def _by_class(classes: tuple[str, ...], values: np.ndarray) -> dict[str, float | None]:
    return dict(zip(classes, map(m.number_or_none, values.tolist()), strict=True))


def metrics_record(confusion: ConfusionMatrix, classes: tuple[str, ...]) -> MetricsRecord:
    """Return all quality metrics of one confusion matrix, with None for NaN."""
    return MetricsRecord(
        miou=m.number_or_none(m.mean_iou(confusion)),
        miou_union=m.number_or_none(m.mean_iou_union(confusion)),
        miou_all=m.mean_iou_all(confusion),
        mean_class_accuracy=m.number_or_none(m.mean_class_accuracy(confusion)),
        pixel_accuracy=m.number_or_none(m.pixel_accuracy(confusion)),
        frequency_weighted_iou=m.number_or_none(m.frequency_weighted_iou(confusion)),
        per_class_iou=_by_class(classes, m.class_iou(confusion)),
        per_class_dice=_by_class(classes, m.class_dice(confusion)),
        per_class_accuracy=_by_class(classes, m.class_accuracy(confusion)),
    )


def scalars(metrics: MetricsRecord | ClassificationRecord | None) -> dict[str, float | None]:
    """Return the metrics that are one number each, by name; none without metrics."""
    if metrics is None:
        return {}
    found = metrics.model_dump()
    return {name: value for name, value in found.items() if not isinstance(value, dict)}


def shared_metrics(counts: np.ndarray, names: tuple[str, ...]) -> MetricsRecord:
    """Return the metrics over the S classes that two datasets share.

    Predictions of other classes count as misses; no mean is taken over "other".

    Args:
        counts: (S+1)×(S+1); the last row is empty, the last column is "other".
        names: the S classes.
    """
    record = metrics_record(ConfusionMatrix(counts), (*names, OTHER))
    by_class = {
        key: {name: value for name, value in getattr(record, key).items() if name != OTHER}
        for key in ("per_class_iou", "per_class_dice", "per_class_accuracy")
    }
    known = [value for value in by_class["per_class_iou"].values() if value is not None]
    miou_union = None
    if known:
        miou_union = sum(known) / len(known)
    means = {"miou_union": miou_union, "miou_all": sum(known) / len(names)}
    return record.model_copy(update={**by_class, **means})


def wrong_metric(stated: TaskMetrics, computed: TaskMetrics) -> str | None:
    """Return the first metric whose stated value is not the computed one; None if all agree."""
    found, expected = _flat(stated), _flat(computed)
    for name in expected | found:
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is of no class"
        if not _equal(found[name], expected[name]):
            return f"{name} {found[name]}, computed {expected[name]}"
    return None


def _flat(record: TaskMetrics) -> dict[str, float | None]:
    """Return every number by its name, those of classes as ``per_class_iou.NAME``."""
    flat: dict[str, float | None] = {}
    for key, value in record:
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": number for name, number in value.items()}
        else:
            flat[key] = value
    return flat


def _equal(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    # another version of NumPy may add in another order, no more
    return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)
