"""What several seeds say together.

Intervals are Student t intervals over independent seeds and exist only from three seeds on; two seeds give a range,
which is called a range; one seed gives a value. No test is made and no claim follows from fewer than three. Assumed:
seeds are independent, scores about normal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

CONFIDENCE = 0.95
ENOUGH = 3
"""Fewest seeds from which an interval or a test is computed."""


@dataclass(frozen=True)
class Summary:
    """Values of one quantity over seeds, in the quantity's own unit.

    Attributes:
        mean: None when there is no value.
        std: sample standard deviation (n - 1); None for n < 2.
        half_width: half the 95 % t interval of the mean; None for n < 3.
        low, high: the interval for n >= 3, smallest and largest value below that.
    """

    n: int
    mean: float | None = None
    std: float | None = None
    half_width: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def spread(self) -> str:
        """What ``low`` and ``high`` are: "95 % interval", "range", or "" where there is nothing to spread."""
        return "95 % interval" if self.half_width is not None else "range" if self.n > 1 else ""

    def text(self, scale: float = 100, digits: int = 1, with_n: bool = True) -> str:
        """``71.2 ± 1.4 (n=3)``, ``71.2 (range 70.1–72.3, n=2)``, ``71.2 (n=1)``; scale 100 writes percent."""
        if self.mean is None or self.low is None or self.high is None:
            return "–"
        center = f"{self.mean * scale:.{digits}f}"
        n = f"n={self.n}"
        if self.half_width is not None:
            return f"{center} ± {self.half_width * scale:.{digits}f}" + (
                f" ({n})" if with_n else ""
            )
        low, high = (f"{value * scale:.{digits}f}" for value in (self.low, self.high))
        inside = [f"range {low}–{high}"] if self.n > 1 else []
        inside += [n] if with_n else []
        return f"{center} ({', '.join(inside)})" if inside else center


def summarize(values: Sequence[float]) -> Summary:
    """The summary of one value per seed."""
    n = len(values)
    if n == 0:
        return Summary(0)
    mean = float(np.mean(values))
    std = float(np.std(values, ddof=1)) if n > 1 else None
    if std is None or n < ENOUGH:
        return Summary(n, mean, std, None, min(values), max(values))
    half_width = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(n)
    return Summary(n, mean, std, half_width, mean - half_width, mean + half_width)


def deviation_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the standard deviation between seeds (chi-square); None for n < 3.

    Assumed: independent seeds and normal scores; other distributions make it too short, unlike that of a mean.
    """
    n = len(values)
    if n < ENOUGH:
        return None
    squares = (n - 1) * float(np.var(values, ddof=1))
    low, high = (squares / stats.chi2.ppf((1 + side * CONFIDENCE) / 2, n - 1) for side in (1, -1))
    return math.sqrt(low), math.sqrt(high)


@dataclass(frozen=True)
class Difference:
    """First minus second, seed by seed.

    Attributes:
        over: summary of the differences over the shared seeds.
        wins, losses: seeds in which the first, or the second, is larger.
        effect: mean in standard deviations of the differences, corrected for few seeds (Hedges' g of a paired
            design); None for n < 3, and where all differences are equal.
        p: two-sided p of the paired t test; None for n < 3, and where all differences are equal (nothing to test).
    """

    over: Summary
    wins: int
    losses: int
    effect: float | None
    p: float | None


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
    """Compares two encoders over the seeds that both have; None if they share none.

    Args:
        first, second: seed -> value.
    """
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if not differences:
        return None
    over = summarize(differences)
    p = effect = None
    if over.half_width is not None and over.std is not None and over.std > 1e-12:
        t = float(np.mean(differences)) / over.std * math.sqrt(over.n)
        p = 2 * float(
            special.stdtr(over.n - 1, -abs(t))
        )  # ttest_1samp, whose checks cost 100 times as much
        effect = float(np.mean(differences)) / over.std * (1 - 3 / (4 * (over.n - 1) - 1))
    wins = sum(value > 0 for value in differences)
    return Difference(over, wins, sum(value < 0 for value in differences), effect, p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for making several comparisons at once (Holm, 1979); None stays None."""
    tested = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, position) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[position] = largest
    return corrected
