"""How many seeds show a difference between two encoders.

The report's own test is meant: the paired t test over seeds (:func:`seeds.paired_difference`) with
Holm's correction over all pairs of encoders. Holm compares the smallest p of m pairs with 0.05 / m
and is milder with every other pair. The power here is that of 0.05 / m, so Holm's is never less,
and is more if other pairs differ, too.

Assumed: seeds are independent, differences about normal.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from encoder_ablations.experiments.stats.seeds import CONFIDENCE, ENOUGH

SIGNIFICANT = 1 - CONFIDENCE
ENOUGH_POWER = 0.8
MOST_SEEDS = 1000
"""More seeds than this are not looked for."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation, between seeds, of the difference of two encoders.

    Attributes:
        std: in the scores' unit; the root mean square over all pairs of encoders.
        low, high: its 95 % interval by chi-square; NaN if it is stated, not measured.
    """

    std: float
    low: float = math.nan
    high: float = math.nan

    @property
    def measured(self) -> bool:
        """Whether it comes from runs, so that it is uncertain itself."""
        return not math.isnan(self.low)


def spread_of(scores: Mapping[str, Mapping[int, float]]) -> Spread | None:
    """Return the spread of pilot runs; None for fewer than two encoders or shared seeds.

    The interval assumes that seeds change all encoders alike, apart from noise of equal size.

    Args:
        scores: encoder -> seed -> score; every encoder has one seed or more.
    """
    if len(scores) < 2:
        return None
    shared = sorted(set.intersection(*map(set, scores.values())))
    if len(shared) < 2:
        return None
    block = np.array([[of_encoder[seed] for seed in shared] for of_encoder in scores.values()])
    # what neither encoder nor seed explains; a difference has twice its variance
    rest = block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()
    freedom = (block.shape[0] - 1) * (block.shape[1] - 1)
    squares = 2 * float((rest**2).sum())
    tails = scipy.stats.chi2.ppf([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], freedom)
    low, high = np.sqrt(squares / tails)
    return Spread(math.sqrt(squares / freedom), float(low), float(high))


def power(difference: float, std: float, seeds: int, comparisons: int = 1) -> float:
    """Return how often the paired t test shows a difference that is there, 0..1.

    It counts only if the side is right, too. Below three seeds there is no test.

    Args:
        difference: between the means of two encoders, above 0.
        std: of the difference between seeds, above 0 and in the same unit.
        seeds: that both encoders have.
        comparisons: pairs of encoders that are tested together, 1 and more.
    """
    if seeds < ENOUGH:
        return 0.0
    freedom = seeds - 1
    needed = scipy.stats.t.isf(SIGNIFICANT / comparisons / 2, freedom)
    # the t statistic of a true difference has the noncentral t distribution
    shift = difference / std * math.sqrt(seeds)
    # where both tails are beyond what scipy computes, the difference is certain to show
    return float(np.nan_to_num(scipy.stats.nct.sf(needed, freedom, shift), nan=1.0))


def seeds_needed(difference: float, std: float, comparisons: int = 1) -> int | None:
    """Return the fewest seeds with 80 % power; None if more than 1,000 are needed.

    Args:
        difference: as for :func:`power`.
        std: as for :func:`power`.
        comparisons: as for :func:`power`.
    """
    if power(difference, std, MOST_SEEDS, comparisons) < ENOUGH_POWER:
        return None
    low, high = ENOUGH, MOST_SEEDS
    # power grows with the seeds, so halving finds the first that is enough
    while low < high:
        middle = (low + high) // 2
        if power(difference, std, middle, comparisons) >= ENOUGH_POWER:
            high = middle
        else:
            low = middle + 1
    return low


def difference_shown(std: float, seeds: int, comparisons: int = 1) -> float:
    """Return the smallest difference that so many seeds show with 80 % power; NaN below three.

    Args:
        std: as for :func:`power`.
        seeds: as for :func:`power`.
        comparisons: as for :func:`power`.
    """
    if seeds < ENOUGH:
        return math.nan
    low, high = 0.0, std
    while power(high, std, seeds, comparisons) < ENOUGH_POWER:
        high *= 2
    # 30 halvings leave less than a billionth of the spread
    for _ in range(30):
        middle = (low + high) / 2
        if power(middle, std, seeds, comparisons) >= ENOUGH_POWER:
            high = middle
        else:
            low = middle
    return high
