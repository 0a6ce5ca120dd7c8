"""Calibration: does a class predicted with 80 % hold on 80 % of those pixels?

Everything is a function of sums over pixels, so that no pixel has to be kept. The expected
calibration error (ECE) is that of Naeini et al. (2015) and Guo et al. (2017): the probability of
the predicted class is sorted into bins of equal width, and the distance between mean probability
and accuracy is averaged over the bins, weighted by their pixels. Class-wise ECE (Kull et al., 2019)
does the same with the probability of each class, and averages over the classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BINS = 15
SMALLEST = float(np.finfo(np.float32).tiny)
"""Stands for a probability of 0, whose logarithm would be infinite."""


@dataclass(frozen=True)
class Bins:
    """Sums over the pixels in each bin of a probability.

    Attributes:
        pixels: (…, bins) float64, how many pixels.
        confidence: (…, bins) float64, the sum of the probability.
        hits: (…, bins) float64, on how many of the pixels the class is the true one.
    """

    pixels: np.ndarray
    confidence: np.ndarray
    hits: np.ndarray

    @classmethod
    def empty(cls, *rows: int) -> "Bins":
        """Return the sums over no pixel."""
        return cls(*np.zeros((3, *rows, BINS)))

    def __add__(self, other: "Bins") -> "Bins":
        return Bins(
            self.pixels + other.pixels,
            self.confidence + other.confidence,
            self.hits + other.hits,
        )

    def error(self) -> np.ndarray:
        """Return the expected calibration error (…,), 0..1; NaN without pixels."""
        gaps = np.abs(self.confidence - self.hits).sum(axis=-1)
        total = self.pixels.sum(axis=-1)
        errors = np.full(gaps.shape, np.nan)
        np.divide(gaps, total, out=errors, where=total > 0)
        return errors

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean probability and accuracy of each bin, (…, bins); NaN for empty bins."""
        empty = np.full(self.pixels.shape, np.nan)
        filled = self.pixels > 0
        mean = np.divide(self.confidence, self.pixels, out=empty.copy(), where=filled)
        accuracy = np.divide(self.hits, self.pixels, out=empty, where=filled)
        return mean, accuracy


@dataclass(frozen=True)
class Calibration:
    """Sums over pixels from which all numbers of calibration follow.

    Attributes:
        top: bins of the predicted class's probability.
        by_class: bins of each class's probability, with a leading axis of K.
        log_loss: sum of -log p(true class), in nats.
        squares: sum over pixels and classes of (p - 1[true class])².
    """

    top: Bins
    by_class: Bins
    log_loss: float = 0.0
    squares: float = 0.0

    @classmethod
    def empty(cls, classes: int) -> "Calibration":
        """Return the sums over no pixel."""
        return cls(Bins.empty(), Bins.empty(classes))

    @classmethod
    def of(cls, probabilities: Tensor, truth: Tensor) -> "Calibration":
        """Return the sums over some pixels.

        Args:
            probabilities: N×K, at least 0, with a sum of 1 over the classes.
            truth: N int64, 0..K-1; ignored pixels are not among them.
        """
        top, predicted = probabilities.max(dim=1)
        of_truth = probabilities.gather(1, truth[:, None])[:, 0].double()
        # Σ (p - y)² = Σ p² - 2 p(true) + 1
        squares = probabilities.double().square().sum(dim=1) - 2 * of_truth + 1
        return cls(
            _binned(top, predicted == truth),
            _binned(probabilities.T, truth == torch.arange(probabilities.shape[1])[:, None]),
            float(-of_truth.clamp_min(SMALLEST).log().sum()),
            float(squares.sum()),
        )

    def __add__(self, other: "Calibration") -> "Calibration":
        return Calibration(
            self.top + other.top,
            self.by_class + other.by_class,
            self.log_loss + other.log_loss,
            self.squares + other.squares,
        )

    @property
    def pixels(self) -> int:
        """Return how many pixels were counted."""
        return int(self.top.pixels.sum())

    @property
    def nll(self) -> float:
        """Return the mean of -log p(true class) in nats (negative log-likelihood)."""
        return self.log_loss / max(1, self.pixels)

    @property
    def brier(self) -> float:
        """Return the mean over pixels of Σ (p - 1[true class])² over the classes; 0..2."""
        return self.squares / max(1, self.pixels)


def _binned(probabilities: Tensor, hits: Tensor) -> Bins:
    """Return the sums over the last axis, by bin.

    Args:
        probabilities: (…, N), 0..1. The last bin includes 1.
        hits: (…, N) bool, where the class is the true one.
    """
    rows = probabilities.shape[:-1]
    edges = torch.linspace(0, 1, BINS + 1)
    found = torch.bucketize(probabilities.contiguous(), edges, right=True) - 1
    # every row has bins of its own: row r has the numbers r * BINS and on
    first = BINS * torch.arange(rows.numel()).view(*rows, 1)
    cells = (found.clamp_(0, BINS - 1) + first).flatten()
    sums = [
        torch.bincount(cells, weights, rows.numel() * BINS).view(*rows, BINS).numpy()
        for weights in (
            torch.ones_like(cells, dtype=torch.float64),
            probabilities.flatten().double(),
            hits.flatten().double(),
        )
    ]
    return Bins(*sums)
