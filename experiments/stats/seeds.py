"""What several seeds say together.

Intervals are Student t intervals over independent seeds and exist only from three seeds on; two
seeds give a range, which is called a range; one seed gives a value. No test is made and no claim
follows from fewer than three. Assumed: seeds are independent, scores about normal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from encoder_ablations.experiments.stats.distributions import chi_square_quantiles
from encoder_ablations.experiments.stats.sequential import (
    FIRST_LOOK,
    LEVEL,
    half_width_factor,
    p_under_looking,
)

CONFIDENCE = 1 - LEVEL
ENOUGH = FIRST_LOOK
"""Fewest seeds from which an interval or a test is computed."""


@dataclass(frozen=True)
class Summary:
    """Values of one quantity over seeds, in the quantity's own unit; NaN for what is unknown.

    Attributes:
        n: number of values.
        mean: NaN when there is no value.
        std: sample standard deviation (n - 1); NaN for n < 2.
        half_width: half the 95 % t interval of the mean; NaN for n < 3.
        low, high: the interval for n >= 3, smallest and largest value below that.
    """

    n: int = 0
    mean: float = math.nan
    std: float = math.nan
    half_width: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def spread(self) -> str:
        """Return what ``low`` and ``high`` are: "95 % interval", "range", or "" for one seed."""
        return ("", "", "range", "95 % interval")[min(self.n, ENOUGH)]

    def text(self, scale: float = 100, digits: int = 1) -> str:
        """Return mean and spread as text.

        ``71.2 ± 1.4``, ``71.2 (range 70.1–72.3)``, ``71.2`` for one seed; "–" for no value.

        Args:
            scale: factor of the numbers; 100 writes shares in percent.
            digits: decimals.
        """
        numbers = np.multiply([self.mean, self.low, self.high, self.half_width], scale)
        mean, low, high, half_width = (f"{number:.{digits}f}" for number in numbers)
        by_seeds = ("–", mean, f"{mean} (range {low}–{high})", f"{mean} ± {half_width}")
        return by_seeds[min(self.n, ENOUGH)]


def summarize(values: Sequence[float], last: int | None = None) -> Summary:
    """Return the summary of one value per seed.

    Args:
        values: one per seed.
        last: number of seeds at which the study ends, if seeds are added until they say enough:
            the interval then holds under looking, see :mod:`sequential`.
    """
    n = len(values)
    if n == 0:
        return Summary()
    low, high = min(values), max(values)
    # np.mean and np.std take ten times as long for so few numbers
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.sum()) / n
    if n == 1:
        return Summary(n, mean, low=low, high=high)
    deviations = numbers - mean
    std = math.sqrt(float((deviations * deviations).sum()) / (n - 1))
    if n < ENOUGH:
        return Summary(n, mean, std, low=low, high=high)
    half_width = _factor(n, last) * std / math.sqrt(n)
    return Summary(n, mean, std, half_width, mean - half_width, mean + half_width)


def _factor(n: int, last: int | None) -> float:
    """Return half the width of a 95 % interval, in standard errors of the mean."""
    if last is None:
        return float(scipy.special.stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return half_width_factor(n, max(last, n))


def deviation_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the standard deviation between seeds; NaN for n < 3.

    It comes from chi-square and assumes independent seeds and normal scores. Other distributions
    make it too short; the interval of a mean suffers less from them.
    """
    n = len(values)
    if n < ENOUGH:
        return math.nan, math.nan
    squares = (n - 1) * float(np.var(values, ddof=1))
    quantiles = chi_square_quantiles([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], n - 1)
    low, high = np.sqrt(squares / quantiles)
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """First minus second, seed by seed.

    Attributes:
        over: summary of the differences over the shared seeds; its ``n`` is 0 without any.
        wins, losses: seeds in which the first, or the second, is larger.
        effect: mean in standard deviations of the differences, corrected for few seeds (Hedges' g
            of a paired design); NaN for n < 3, and where all differences are equal.
        p: two-sided p of the paired t test; NaN for n < 3, and where all differences are equal.
    """

    over: Summary = Summary()
    wins: int = 0
    losses: int = 0
    effect: float = math.nan
    p: float = math.nan


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], last: int | None = None
) -> Difference:
    """Return the difference over the seeds that both encoders have.

    Args:
        first: seed -> value of one encoder.
        second: seed -> value of the other one.
        last: as for :func:`summarize`; p then holds under looking, too.
    """
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    over = summarize(differences, last)
    wins = sum(difference > 0 for difference in differences)
    losses = sum(difference < 0 for difference in differences)
    # differences that are equal but for rounding have no distribution to test
    if over.n < ENOUGH or over.std <= 1e-12:
        return Difference(over, wins, losses)
    size = over.mean / over.std
    # as scipy's ttest_1samp, whose checks take 100 times as long
    p = 2 * float(scipy.special.stdtr(over.n - 1, -abs(size * math.sqrt(over.n))))
    if last is not None:
        p = p_under_looking(p, over.n, max(last, over.n))
    # Hedges' correction for few values
    effect = size * (1 - 3 / (4 * (over.n - 1) - 1))
    return Difference(over, wins, losses, effect, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for several comparisons at once (Holm, 1979); NaN stays NaN."""
    p = np.asarray(p_values, dtype=np.float64)
    # smallest first; those that were not tested come last and do not count
    order = np.argsort(p, kind="stable")
    factors = np.count_nonzero(~np.isnan(p)) - np.arange(len(p))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return [float(value) for value in corrected]
