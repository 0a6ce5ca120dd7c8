"""Intervals and tests that stay valid when seeds are added until they say enough.

An ordinary interval contains the truth in 95 of 100 studies if the number of seeds was fixed. Who
looks after every seed and stops at the first welcome result is wrong more often. Here the t
statistic may be looked at after every seed from the third to the last one that the study allows.
The level of a look grows with its number of seeds n: a(n) = g n, and g makes all looks together err
in 5 of 100 studies. Such intervals are called repeated confidence intervals (Jennison & Turnbull,
Group Sequential Methods, 2000, chapter 9). They hold at any time of stopping, whatever the reason,
because they hold at all looks at once.

g follows from simulation: the joint distribution of the t statistics depends neither on the true
mean nor on the spread. The error of the simulation is counted against the claim.

The alternative is a confidence sequence for any number of seeds: a normal mixture over effect sizes
(Lai, 1976; Wang & Ramdas, Anytime-valid t-tests and confidence sequences, 2023). It also pays for
looks after the last seed, which a study never takes. With 3 to 12 seeds it needs more of them and
shows less: 7.8 seeds on average against 6.8 for a difference of 1.5 standard deviations, and 51
against 78 of 100 differences of one standard deviation.

Assumed: seeds are independent, scores about normal, and the last number of seeds was chosen before
the first look.
"""

import math
from functools import cache

import numpy as np
import scipy
from numpy.typing import ArrayLike

from encoder_ablations.utils.seeding import numpy_stream

LEVEL = 0.05
"""Share of studies without a difference in which one may be claimed."""
FIRST_LOOK = 3
"""Fewest seeds from which an interval or a test is computed."""
STUDIES = 200_000
"""Simulated studies without any difference."""
DEVIATIONS = 3
"""Standard errors of the simulation that are added to what it counts."""


def half_width_factor(seeds: int, last: int) -> float:
    """Return half the width of the 95 % interval, in standard errors of the mean.

    Args:
        seeds: number of seeds so far, 3..last.
        last: number of seeds at which the study ends.
    """
    level = _level_per_seed(last) * seeds
    return float(-scipy.special.stdtrit(seeds - 1, level / 2))


def p_under_looking(p: float, seeds: int, last: int) -> float:
    """Return a p value that holds although there are looks after every seed.

    It is below 0.05 exactly where the interval of :func:`half_width_factor` leaves out 0.

    Args:
        p: two-sided, of the t test that knows of no looks; NaN stays NaN.
        seeds: number of seeds so far, 3..last.
        last: number of seeds at which the study ends.
    """
    if math.isnan(p):
        return p
    per_seed = p / seeds
    smallest = _smallest_per_seed(last)
    simulated = _error(np.searchsorted(smallest, per_seed, side="right"))
    # far out in the tail few simulated studies count: the sum over all looks is never too small
    summed = per_seed * _sum_of_looks(last)
    return min(float(simulated), summed, 1.0)


@cache
def _level_per_seed(last: int) -> float:
    """Return g: the level of a look with n seeds is g n."""
    smallest = _smallest_per_seed(last)
    enough = np.count_nonzero(_error(np.arange(STUDIES)) <= LEVEL)
    summed = LEVEL / _sum_of_looks(last)
    return max(float(smallest[enough]) * (1 - 1e-12), summed)


def _error(count: ArrayLike) -> np.ndarray:
    """Return an upper bound for how often something happens that did ``count`` times."""
    more = np.asarray(count) + 1
    return np.asarray((more + DEVIATIONS * np.sqrt(more)) / STUDIES)


def _sum_of_looks(last: int) -> int:
    return sum(range(FIRST_LOOK, last + 1))


@cache
def _smallest_per_seed(last: int) -> np.ndarray:
    """Return the smallest p / n of each simulated study over its looks, sorted: (STUDIES,)."""
    draw = numpy_stream(0, "looks", last)
    total, squares = np.zeros(STUDIES), np.zeros(STUDIES)
    smallest = np.full(STUDIES, np.inf)
    for seeds in range(1, last + 1):
        values = draw.standard_normal(STUDIES)
        total += values
        squares += values**2
        if seeds < FIRST_LOOK:
            continue
        variance = (squares - total**2 / seeds) / (seeds - 1)
        t = np.abs(total) / np.sqrt(seeds * variance)
        p = 2 * scipy.special.stdtr(seeds - 1, -t)
        smallest = np.minimum(smallest, p / seeds)
    return np.sort(smallest)
