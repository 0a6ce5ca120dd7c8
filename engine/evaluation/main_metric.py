"""The one number of each task that chooses checkpoints and ranks encoders."""

from collections.abc import Callable
from dataclasses import dataclass

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.metrics import mean_iou, pixel_accuracy


@dataclass(frozen=True)
class MainMetric:
    """What a task is judged by, and how texts and records call it.

    Attributes:
        key: its name in records.
        label: its name in texts.
        class_key: the name in records of the metric of each class.
        class_label: the same in texts.
        counted: what a confusion matrix counts, as texts call it.
        of: the number that follows from a confusion matrix, 0..1, or NaN.
    """

    key: str
    label: str
    class_key: str
    class_label: str
    counted: str
    of: Callable[[ConfusionMatrix], float]


MAIN_METRICS: dict[Task, MainMetric] = {
    "segmentation": MainMetric("miou", "mIoU", "per_class_iou", "IoU", "pixel", mean_iou),
    "classification": MainMetric(
        "accuracy", "accuracy", "per_class_recall", "recall", "image", pixel_accuracy
    ),
}
"""Where each image is one pixel of its class, the accuracy of pixels is that of images."""
