"""Selective prediction: how many errors are left when the least certain pixels are left out.

The curve of risk against coverage, its area (AURC) and the area that the best possible order of the
same errors would have are those of Geifman, Uziel and El-Yaniv (2019). Pixels are counted in fine
bins of their uncertainty; within a bin they are in random order.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BINS = 4096
POWER = 4
"""Bins are equally wide in uncertainty^(1/4): most pixels are nearly certain."""


@dataclass(frozen=True)
class RiskCoverage:
    """Counts of pixels and of wrong ones by uncertainty, the most certain first.

    Attributes:
        pixels: (bins,) int64.
        wrong: (bins,) int64.
    """

    pixels: np.ndarray
    wrong: np.ndarray

    @classmethod
    def empty(cls) -> "RiskCoverage":
        """Return the counts of no pixel."""
        return cls(*np.zeros((2, BINS), np.int64))

    @classmethod
    def of(cls, uncertainty: Tensor, wrong: Tensor) -> "RiskCoverage":
        """Return the counts of some pixels.

        Args:
            uncertainty: (N,), 0..1.
            wrong: (N,) bool, whether the predicted class is not the true one.
        """
        scale = uncertainty.double().clamp(0, 1) ** (1 / POWER)
        found = (scale * BINS).long().clamp_(max=BINS - 1)
        pixels = torch.bincount(found, minlength=BINS)
        errors = torch.bincount(found[wrong], minlength=BINS)
        return cls(pixels.numpy(), errors.numpy())

    def __add__(self, other: "RiskCoverage") -> "RiskCoverage":
        return RiskCoverage(self.pixels + other.pixels, self.wrong + other.wrong)

    @property
    def error(self) -> float:
        """Return the share of wrong pixels, which is the risk when all are kept; NaN for none."""
        return _share(self.wrong.sum(), self.pixels.sum())

    def area(self) -> float:
        """Return the mean risk over all coverages from 0 to 1 (AURC); NaN without pixels."""
        used = self.pixels > 0
        pixels, wrong = self.pixels[used].astype(float), self.wrong[used].astype(float)
        if not len(pixels):
            return math.nan
        before, errors = np.cumsum(pixels) - pixels, np.cumsum(wrong) - wrong
        # Along a bin, risk is (errors + rate · s) / (before + s): its integral over s
        rate = wrong / pixels
        lead = errors[1:] - rate[1:] * before[1:]
        logarithms = np.zeros(len(pixels))
        logarithms[1:] = lead * np.log1p(pixels[1:] / before[1:])
        return float((wrong + logarithms).sum() / pixels.sum())

    def ideal(self) -> float:
        """Return the area if every wrong pixel were less certain than every right one."""
        error = self.error
        if math.isnan(error) or error == 1:
            return error
        return error + (1 - error) * math.log1p(-error)

    def risk_at(self, coverages: np.ndarray) -> np.ndarray:
        """Return the share of wrong pixels among the most certain ones, 0..1.

        Args:
            coverages: shares of the pixels that are kept; more than 0, at most 1.
        """
        total = self.pixels.sum()
        if not total:
            return np.full(len(coverages), np.nan)
        kept = np.concatenate([[0], np.cumsum(self.pixels)])
        wrong = np.concatenate([[0], np.cumsum(self.wrong)])
        found: np.ndarray = np.interp(coverages * total, kept, wrong) / (coverages * total)
        return found


def _share(part: int, whole: int) -> float:
    if not whole:
        return math.nan
    return float(part / whole)
