"""Temperature: one number that makes all probabilities of a model softer or sharper.

Guo et al., On Calibration of Modern Neural Networks (2017), divide logits by T. Here the
probabilities are raised to the power 1/T and divided by their sum. This is the same for the softmax
of logits, and also exists where there are none: mixed masks (Mask2Former), and the mean of several
models or views. T > 1 makes a model less sure. The predicted class never changes.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy
import torch
from torch import Tensor

from encoder_ablations.engine.evaluation.calibration import SMALLEST
from encoder_ablations.utils.seeding import numpy_stream

LOWEST, HIGHEST = 0.05, 20.0
"""Bounds between which the temperature is looked for."""
MOST_PIXELS = 100_000
MOST_VALUES = 2**24
"""Probabilities that the sample holds at most: 64 MiB of float32."""


def tempered(probabilities: Tensor, temperature: float) -> Tensor:
    """Return p^(1/T), divided by its sum over the classes.

    Args:
        probabilities: N×K; a probability of 0 counts as the smallest normal float32.
        temperature: T, more than 0.
    """
    return (probabilities.clamp_min(SMALLEST).log() / temperature).softmax(dim=1)


class Sample(NamedTuple):
    """Pixels that the temperature is fitted on.

    Attributes:
        probabilities: N×K.
        truth: N int64, 0..K-1.
    """

    probabilities: Tensor
    truth: Tensor


class PixelSample:
    """Collects as many random labelled pixels of every image, without replacement.

    Args:
        images: how many images there will be.
        classes: K.
        seed: of the choice.
    """

    def __init__(self, images: int, classes: int, seed: int = 0) -> None:
        most = min(MOST_PIXELS, MOST_VALUES // classes)
        self.of_image = max(1, most // images)
        self._seed = seed
        self._parts: list[Sample] = []

    def chosen(self, image: str, labelled: int) -> np.ndarray:
        """Return which of an image's labelled pixels are taken, ascending.

        Args:
            image: its id.
            labelled: number of its labelled pixels.
        """
        random = numpy_stream(self._seed, "temperature", image)
        taken = random.choice(labelled, min(labelled, self.of_image), replace=False)
        return np.sort(taken)

    def add(self, probabilities: Tensor, truth: Tensor) -> None:
        """Add pixels N×K and their classes N."""
        self._parts.append(Sample(probabilities.clone(), truth.clone()))

    def all(self) -> Sample:
        """Return all pixels that were added."""
        return Sample(*map(torch.cat, zip(*self._parts, strict=True)))


def fit_temperature(sample: Sample) -> float:
    """Return the temperature with the smallest mean of -log p(true class), 0.05..20.

    The loss is convex in 1/T, so it has one minimum.
    """
    logs = sample.probabilities.clamp_min(SMALLEST).double().log()

    def loss(log_temperature: float) -> float:
        scaled = logs / math.exp(log_temperature)
        of_truth = scaled.gather(1, sample.truth[:, None])[:, 0]
        return float((scaled.logsumexp(dim=1) - of_truth).mean())

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    # bounded: golden sections and parabolas (Brent)
    found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return math.exp(found.x)
