"""An exported model against the run that it comes from."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.metrics import mean_iou, number_or_none
from encoder_ablations.engine.export.runner import Runner
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.utils.texts import plural

REPEATS = 5
"""Times that both are timed, in turn."""


@dataclass(frozen=True)
class Comparison:
    """How an exported model differs from PyTorch's predictions of the same images.

    Attributes:
        images: number of images.
        pixels: of all images.
        differing: pixels with another label.
        largest_difference: of two probabilities, 0..1.
        differing_images: images as a whole with another class; None without an image head.
        miou: of PyTorch on these images, 0..1; None without masks.
        exported_miou: of the exported model.
        seconds: of PyTorch for the first image; the median.
        exported_seconds: of the exported model.
    """

    images: int
    pixels: int
    differing: int
    largest_difference: float
    differing_images: int | None
    miou: float | None
    exported_miou: float | None
    seconds: float
    exported_seconds: float

    @property
    def share(self) -> float:
        """Pixels with another label, as a share of all."""
        return self.differing / self.pixels

    @property
    def speed(self) -> float:
        """How many times as fast as PyTorch the exported model is."""
        return self.seconds / self.exported_seconds


def compare(
    runner: Runner,
    predictor: Predictor,
    samples: Sequence[Sample],
    tell: Callable[[str], object] = print,
) -> Comparison:
    """Return how the exported model differs from the predictor.

    Args:
        runner: the exported model.
        predictor: of the run itself.
        samples: at least one; of the size that the exported model takes. Without masks no mIoU is
            computed.
        tell: takes a line about what is done now.
    """
    tell(f"checking it on {plural(len(samples), 'image')}")
    classes = len(predictor.classes)
    own, exported = ConfusionMatrix.empty(classes), ConfusionMatrix.empty(classes)
    pixels = differing = 0
    largest = 0.0
    votes = []
    for sample in samples:
        expected = predictor.predict(sample.image)
        found = runner(as_photos(sample.image))
        labels = found.labels[0].astype(np.int64)
        pixels += labels.size
        differing += int((labels != expected.mask).sum())
        assert expected.probabilities is not None
        difference = np.abs(found.probabilities[0] - expected.probabilities)
        # NaN counts as the largest difference that there can be
        largest = max(largest, float(np.nan_to_num(difference, nan=1.0).max()))
        if found.image_probabilities is not None:
            votes.append(_same_class(found.image_probabilities[0], expected, predictor))
        if sample.mask is not None:
            own = own + _confusion(expected.mask, sample.truth, classes)
            exported = exported + _confusion(labels, sample.truth, classes)
    tell("timing it")
    times = _times(runner, predictor, samples[0].image)
    return Comparison(
        images=len(samples),
        pixels=pixels,
        differing=differing,
        largest_difference=largest,
        differing_images=votes.count(False) if votes else None,
        miou=number_or_none(mean_iou(own)),
        exported_miou=number_or_none(mean_iou(exported)),
        seconds=times[0],
        exported_seconds=times[1],
    )


def _confusion(mask: np.ndarray, truth: np.ndarray, classes: int) -> ConfusionMatrix:
    """Return the confusion matrix of two masks H×W."""
    found, true = (torch.from_numpy(each.astype(np.int64)) for each in (mask, truth))
    return ConfusionMatrix.of(found, true, classes)


def _same_class(found: np.ndarray, expected: Prediction, predictor: Predictor) -> bool:
    """Return whether K' probabilities say of an image as a whole what the run says."""
    assert predictor.image_classes is not None
    assert expected.image_class is not None
    return predictor.image_classes[int(found.argmax())] == expected.image_class.name


def as_photos(image: np.ndarray) -> np.ndarray:
    """Return an image H×W×3 uint8 as a batch 1×3×H×W."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None])


def _times(runner: Runner, predictor: Predictor, image: np.ndarray) -> tuple[float, float]:
    """Return the seconds that PyTorch and the exported model take for an image."""
    photos = as_photos(image)
    own, exported = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        predictor.predict(image)
        between = time.perf_counter()
        runner(photos)
        own.append(between - start)
        exported.append(time.perf_counter() - between)
    return median(own), median(exported)
