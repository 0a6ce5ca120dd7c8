"""What several seeds say together.

Intervals are Student t intervals over independent seeds and exist only from three seeds on; two
seeds give a range, which is called a range; one seed gives a value. No test is made and no claim
follows from fewer than three. Assumed: seeds are independent, scores about normal.
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
        """Return what ``low`` and ``high`` are: "95 % interval", "range", or "" for one seed."""
        if self.half_width is not None:
            return "95 % interval"
        return "range" if self.n > 1 else ""

    def text(self, scale: float = 100, digits: int = 1, with_n: bool = True) -> str:
        """Return mean and spread as text.

        ``71.2 ± 1.4 (n=3)``, ``71.2 (range 70.1–72.3, n=2)``, ``71.2 (n=1)``; "–" for no value.

        Args:
            scale: factor of the numbers; 100 writes shares in percent.
            digits: decimals.
            with_n: whether the number of seeds is added.
        """
        if self.mean is None or self.low is None or self.high is None:
            return "–"
        text = f"{self.mean * scale:.{digits}f}"
        inside = []
        if self.half_width is not None:
            text += f" ± {self.half_width * scale:.{digits}f}"
        elif self.n > 1:
            inside.append(f"range {self.low * scale:.{digits}f}–{self.high * scale:.{digits}f}")
        if with_n:
            inside.append(f"n={self.n}")
        return f"{text} ({', '.join(inside)})" if inside else text


def summarize(values: Sequence[float]) -> Summary:
    """Return the summary of one value per seed."""
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
    """Return the 95 % interval of the standard deviation between seeds; None for n < 3.

    It comes from chi-square and assumes independent seeds and normal scores. Other distributions
    make it too short; the interval of a mean suffers less from them.
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
        effect: mean in standard deviations of the differences, corrected for few seeds (Hedges' g
            of a paired design); None for n < 3, and where all differences are equal.
        p: two-sided p of the paired t test; None for n < 3, and where all differences are equal.
    """

    over: Summary
    wins: int
    losses: int
    effect: float | None
    p: float | None


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference | None:
    """Return the difference over the seeds that both encoders have; None if they share none.

    Args:
        first: seed -> value of one encoder.
        second: seed -> value of the other one.
    """
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if not differences:
        return None
    over = summarize(differences)
    p = effect = None
    if over.half_width is not None and over.std is not None and over.std > 1e-12:
        size = float(np.mean(differences)) / over.std
        # as scipy's ttest_1samp, whose checks take 100 times as long
        p = 2 * float(special.stdtr(over.n - 1, -abs(size * math.sqrt(over.n))))
        # Hedges' correction for few values
        effect = size * (1 - 3 / (4 * (over.n - 1) - 1))
    wins = sum(value > 0 for value in differences)
    losses = sum(value < 0 for value in differences)
    return Difference(over, wins, losses, effect, p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for several comparisons at once (Holm, 1979); None stays None."""
    tested = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, position) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[position] = largest
    return corrected
