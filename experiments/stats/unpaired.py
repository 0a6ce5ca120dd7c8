"""The difference of two means whose seeds are not the same."""

import math
from collections.abc import Sequence

import numpy as np
import scipy

from encoder_ablations.experiments.stats.seeds import CONFIDENCE, ENOUGH


def unpaired_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return Welch's 95 % interval of the mean of ``first`` minus that of ``second``.

    NaN where one has fewer than three values. Assumed: seeds are independent, scores about normal;
    the spreads of the two may differ (Welch, 1947).
    """
    if min(len(first), len(second)) < ENOUGH:
        return math.nan, math.nan
    middle = float(np.mean(first) - np.mean(second))
    of_first, of_second = _squared_error(first), _squared_error(second)
    total = of_first + of_second
    if total == 0:
        return middle, middle
    # Satterthwaite's degrees of freedom
    parts = of_first**2 / (len(first) - 1) + of_second**2 / (len(second) - 1)
    freedom = total**2 / parts
    width = float(scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(total)
    return middle - width, middle + width


def _squared_error(values: Sequence[float]) -> float:
    """Return the squared standard error of the mean."""
    return float(np.var(values, ddof=1)) / len(values)
