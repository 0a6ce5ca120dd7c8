"""Sets of classes that miss the true one at a held rate (conformal risk control).

Angelopoulos, Bates, Fisch, Lei and Schuster, Conformal Risk Control (2022); for segmentation see
Mossina, Dalmau and Andéol, Conformal Semantic Image Segmentation (2024). A pixel's set holds every
class k with p_k ≥ t_k, where t_k is 1 - λ of the papers. The loss of an image is the miss rate: the
share of a class's true pixels whose set leaves the class out. It lies in 0..1 and falls as the
threshold falls. On n calibration images the largest threshold is chosen with

    n / (n + 1) · (mean miss rate) + 1 / (n + 1) ≤ α.

Then the expected miss rate of a new image is at most α. The expectation is over new images and over
the calibration images together, which must be exchangeable: drawn in the same way. It is no promise
for a single image, and none for images of another kind.

Every class has a threshold of its own; its images are those in which it occurs.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

STEPS = 1024
POWER = 4


def thresholds() -> np.ndarray:
    """Return the thresholds t that are tried, ascending from 0 to 1, float64.

    They are closer together near 0, where most thresholds of small miss rates lie.
    """
    return (np.arange(STEPS + 1) / STEPS) ** POWER


@dataclass(frozen=True)
class ImageMisses:
    """Counts over one image's pixels.

    Attributes:
        counts: K×(thresholds + 1) int64: of the true pixels of each class, how many have a
            probability of it that reaches so many thresholds.
    """

    counts: np.ndarray

    @classmethod
    def empty(cls, classes: int) -> "ImageMisses":
        """Return the counts of no pixel."""
        return cls(np.zeros((classes, STEPS + 2), np.int64))

    @classmethod
    def of(cls, probabilities: Tensor, truth: Tensor) -> "ImageMisses":
        """Return the counts of some pixels.

        Args:
            probabilities: N×K.
            truth: N int64, 0..K-1.
        """
        classes = probabilities.shape[1]
        of_truth = probabilities.gather(1, truth[:, None])[:, 0].double()
        reached = torch.bucketize(of_truth, torch.from_numpy(thresholds()), right=True)
        cells = truth * (STEPS + 2) + reached
        counts = torch.bincount(cells, minlength=classes * (STEPS + 2))
        return cls(counts.view(classes, STEPS + 2).numpy())

    def __add__(self, other: "ImageMisses") -> "ImageMisses":
        return ImageMisses(self.counts + other.counts)

    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the miss rate of each class at each threshold, and which classes occur.

        Returns:
            K×thresholds float64, 0 where the class does not occur, and (K,) bool.
        """
        pixels = self.counts.sum(axis=1)
        # a pixel is missed at threshold g where it reaches no more than g of them
        missed = np.cumsum(self.counts, axis=1)[:, :-1]
        return missed / np.maximum(1, pixels)[:, None], pixels > 0


class Calibrator:
    """Adds up the miss rates of calibration images.

    Attributes:
        sums: K×thresholds float64.
        images: (K,) int64, in how many images each class occurs.
    """

    def __init__(self, classes: int) -> None:
        self.sums = np.zeros((classes, STEPS + 1))
        self.images = np.zeros(classes, np.int64)

    def add(self, image: ImageMisses) -> None:
        """Add one image, complete."""
        rates, present = image.rates()
        self.sums += rates
        self.images += present

    def chosen(self, level: float) -> np.ndarray:
        """Return the threshold of each class (K,); NaN where too few images have it.

        Args:
            level: α, more than 0 and less than 1. It needs 1/α - 1 images or more.
        """
        tried = thresholds()
        # the finite-sample bound, with the largest loss B = 1
        bound = (self.sums + 1) / (self.images + 1)[:, None]
        # rates rise with the threshold, so that the allowed ones come first
        allowed = (bound <= level).sum(axis=1)
        found = np.full(len(self.images), np.nan)
        found[allowed > 0] = tried[allowed[allowed > 0] - 1]
        return found


def images_needed(level: float) -> int:
    """Return the fewest calibration images with which a miss rate of ``level`` can be held."""
    # a hair less, because 1 / 0.1 - 1 may be computed as a little more than 9
    return math.ceil(1 / level - 1 - 1e-9)
