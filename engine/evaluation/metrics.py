"""Quality: every number is a function of one confusion matrix over the whole set.

All values are fractions in 0..1, or NaN where the divisor is zero (a class that never occurs).
"""

import math
from collections.abc import Callable

import numpy as np

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix


def number_or_none(value: float) -> float | None:
    """Return a metric as records hold it: None for NaN."""
    if math.isnan(value):
        return None
    return float(value)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    result = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def class_iou(matrix: ConfusionMatrix) -> np.ndarray:
    """Return the IoU of each class (K,); NaN where the class is in neither truth nor prediction."""
    hits, truth, predicted = matrix.sums
    return _divide(hits, truth + predicted - hits)


def class_dice(matrix: ConfusionMatrix) -> np.ndarray:
    """Return Dice (F1) of each class (K,): 2·hits / (truth + prediction); NaN where in neither."""
    hits, truth, predicted = matrix.sums
    return _divide(2 * hits, truth + predicted)


def class_accuracy(matrix: ConfusionMatrix) -> np.ndarray:
    """Return the recall of each class (K,); NaN where the class is not in the truth."""
    return _divide(matrix.sums.hits, matrix.sums.truth)


def class_precision(matrix: ConfusionMatrix) -> np.ndarray:
    """Return the precision of each class (K,); NaN where the class is never predicted."""
    return _divide(matrix.sums.hits, matrix.sums.predicted)


def _mean(values: np.ndarray, chosen: np.ndarray) -> float:
    if not chosen.any():
        return float("nan")
    return float(values[chosen].mean())


def _present(matrix: ConfusionMatrix) -> np.ndarray:
    present: np.ndarray = matrix.sums.truth > 0
    return present


def mean_iou(matrix: ConfusionMatrix) -> float:
    """Return the mIoU over the classes in the ground truth: Detectron2's rule, and ours."""
    return _mean(class_iou(matrix), _present(matrix))


def mean_iou_union(matrix: ConfusionMatrix) -> float:
    """Return the mIoU over the classes in truth or prediction, as torchmetrics does."""
    values = class_iou(matrix)
    return _mean(values, ~np.isnan(values))


def mean_iou_all(matrix: ConfusionMatrix) -> float:
    """Return the mIoU over all classes; classes that never occur count as 0."""
    return float(np.nan_to_num(class_iou(matrix)).mean())


def mean_class_accuracy(matrix: ConfusionMatrix) -> float:
    """Return the mean recall over the classes present in the ground truth."""
    return _mean(class_accuracy(matrix), _present(matrix))


def macro_f1(matrix: ConfusionMatrix) -> float:
    """Return the mean F1 over the classes in truth or prediction, as scikit-learn does."""
    values = class_dice(matrix)
    return _mean(values, ~np.isnan(values))


def pixel_accuracy(matrix: ConfusionMatrix) -> float:
    """Return the share of labelled pixels whose class is right."""
    total = matrix.counts.sum()
    if not total:
        return float("nan")
    return float(np.trace(matrix.counts) / total)


def frequency_weighted_iou(matrix: ConfusionMatrix) -> float:
    """Return the mean of the classes' IoU, weighted by their share of the labelled pixels."""
    truth = matrix.counts.sum(axis=1)
    total = truth.sum()
    if not total:
        return float("nan")
    return float((truth / total * np.nan_to_num(class_iou(matrix))).sum())


VALIDATION: dict[Task, dict[str, Callable[[ConfusionMatrix], float]]] = {
    "segmentation": {
        "miou": mean_iou,
        "mean_class_accuracy": mean_class_accuracy,
        "pixel_accuracy": pixel_accuracy,
        "frequency_weighted_iou": frequency_weighted_iou,
    },
    # each image is one pixel of its class
    "classification": {"accuracy": pixel_accuracy, "balanced_accuracy": mean_class_accuracy},
}
"""Metrics of every evaluation during training, which may choose checkpoints; more is better."""


def validation_metrics(matrix: ConfusionMatrix, task: Task) -> dict[str, float | None]:
    """Return the metrics of a task in ``VALIDATION``, by name; None where nothing is labelled."""
    return {name: number_or_none(metric(matrix)) for name, metric in VALIDATION[task].items()}
