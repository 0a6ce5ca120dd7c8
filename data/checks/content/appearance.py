"""Find masks whose classes are exchanged, by what the classes look like in the other images.

A pixel's class is predicted from colour and texture around it by a classifier that has not seen the
image (out of fold, as in confident learning: Northcutt et al., JAIR 2021): ridge regression on
random Fourier features (Rahimi & Recht, NeurIPS 2007).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from encoder_ablations.data.checks.content.edges import nearest
from encoder_ablations.utils.seeding import numpy_stream

SIDE = 48
"""The longer side of the thumbnails that are compared."""
FOLDS = 5
FEATURES = 128
WIDTH = 0.35
"""Scale of the random frequencies: the kernel's width is 1 / 0.35 deviations of a feature."""
RIDGE = 1e-3
LEAST = 0.01
"""Predicted probabilities are at least this."""
TRAINED = 200_000
"""Pixels that the classifier is fitted to, about."""


@dataclass(frozen=True, eq=False, slots=True)
class Thumbnail:
    """A pair, small enough to be kept for a whole dataset.

    Attributes:
        channels: h×w×5 uint8: CIE Lab, and the strength of edges across and along.
        classes: h×w class ids.
    """

    channels: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True, slots=True)
class Relabelling:
    """How a mask fits best if its classes change their names.

    Attributes:
        gain: mean over the pixels of log p(best name) - log p(its name).
        names: class in the mask -> class that its pixels look like; only those that change.
    """

    gain: float
    names: dict[int, int]


def thumbnail(pixels: np.ndarray, classes: np.ndarray) -> Thumbnail:
    """Return a pair's thumbnail from its H×W×3 RGB uint8 and its H×W class ids."""
    scale = min(1.0, SIDE / max(classes.shape))
    height, width = (max(1, round(side * scale)) for side in classes.shape)
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    edges = [cv2.Sobel(gray, cv2.CV_32F, *order) for order in ((1, 0), (0, 1))]
    strength = cv2.resize(np.abs(np.dstack(edges)), (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    # Sobel's largest value is 4 * 255, whose logarithm is 7
    texture = np.log1p(strength) * (255 / 7)
    channels = np.dstack([cv2.cvtColor(small, cv2.COLOR_RGB2LAB), texture.round()])
    return Thumbnail(channels.astype(np.uint8), nearest(classes, height, width))


def relabellings(thumbnails: list[Thumbnail], num_classes: int) -> list[Relabelling]:
    """Return the best new names of each mask's classes."""
    describe = _Description(thumbnails)
    # neighbours, which may be frames of one film, fall into different folds: in the light of
    # their scene the classifier has seen the classes
    folds = np.arange(len(thumbnails)) % FOLDS
    sums = [_NormalEquations(num_classes) for _ in range(FOLDS)]
    pixels = sum(each.classes.size for each in thumbnails)
    step = max(1, pixels // TRAINED)
    for fold, each in zip(folds, thumbnails, strict=True):
        sums[fold].add(describe(each, step), each.classes.ravel()[::step])
    # a fold's classifier is fitted to all the others
    weights = [_NormalEquations.solve(sums[:fold] + sums[fold + 1 :]) for fold in range(FOLDS)]
    return [
        _relabel(each.classes.ravel(), _log_probabilities(describe(each), weights[fold]))
        for fold, each in zip(folds, thumbnails, strict=True)
    ]


class _Description:
    """Thumbnail -> N×(2 FEATURES + 1) float32, features of every ``step``-th of its pixels."""

    def __init__(self, thumbnails: list[Thumbnail]) -> None:
        stream = numpy_stream(0, "content")
        self._frequencies = stream.normal(0, WIDTH, (15, FEATURES)).astype(np.float32)
        # copies: a view would keep all pixels of its image in memory
        sample = np.concatenate([_surroundings(each)[::97].copy() for each in thumbnails])
        self._mean, self._deviation = sample.mean(axis=0), sample.std(axis=0) + 1e-6

    def __call__(self, each: Thumbnail, step: int = 1) -> np.ndarray:
        waves = (_surroundings(each)[::step] - self._mean) / self._deviation @ self._frequencies
        features = np.ones((len(waves), 2 * FEATURES + 1), np.float32)
        np.cos(waves, out=features[:, :FEATURES])
        np.sin(waves, out=features[:, FEATURES:-1])
        return features


def _surroundings(each: Thumbnail) -> np.ndarray:
    """Return the channels at each pixel and, blurred, around it, as N×15 float32."""
    channels = each.channels.astype(np.float32) / 255
    levels = [channels, *(cv2.GaussianBlur(channels, (0, 0), sigma) for sigma in (1.2, 4.0))]
    return np.dstack(levels).reshape(-1, 15)


class _NormalEquations:
    """Sums over pixels from which ridge regression follows."""

    def __init__(self, num_classes: int) -> None:
        size = 2 * FEATURES + 1
        self.gram = np.zeros((size, size))
        self.target = np.zeros((size, num_classes))

    def add(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Add pixels; those without a class are left out."""
        num_classes = self.target.shape[1]
        known = labels < num_classes
        features, labels = features[known], labels[known]
        self.gram += features.T @ features
        self.target += features.T @ np.eye(num_classes, dtype=np.float32)[labels]

    @staticmethod
    def solve(sums: list["_NormalEquations"]) -> np.ndarray:
        """Return the weights, (2 FEATURES + 1)×K float32, that fit all these pixels best."""
        gram = np.sum([each.gram for each in sums], axis=0)
        target = np.sum([each.target for each in sums], axis=0)
        ridge = RIDGE * np.trace(gram) / len(gram) + 1e-9
        return np.linalg.solve(gram + ridge * np.eye(len(gram)), target).astype(np.float32)


def _log_probabilities(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return log p of every class at every pixel, N×K."""
    scores = np.clip(features @ weights, LEAST, None)
    return np.asarray(np.log(scores / scores.sum(axis=1, keepdims=True)))


def _relabel(labels: np.ndarray, log_probabilities: np.ndarray) -> Relabelling:
    """Find the renaming, one to one, under which the labels are most probable."""
    from scipy.optimize import linear_sum_assignment  # takes half a second to import

    num_classes = log_probabilities.shape[1]
    known = labels < num_classes
    # support[a, b]: log p of b, summed over the pixels that are called a
    support = np.zeros((num_classes, num_classes))
    labels, log_probabilities = labels[known], log_probabilities[known]
    for name in range(num_classes):
        logs = log_probabilities[:, name]
        support[:, name] = np.bincount(labels, weights=logs, minlength=num_classes)
    names = linear_sum_assignment(support, maximize=True)[1]
    gain = support[np.arange(num_classes), names].sum() - np.trace(support)
    shown = np.unique(labels).tolist()
    changed = {name: int(names[name]) for name in shown if names[name] != name}
    return Relabelling(gain / max(1, len(labels)), changed)
