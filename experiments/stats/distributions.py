"""Quantiles of distributions, for which reports need not import ``scipy.stats``.

That import takes half a second, and its quantile of the studentized range, to twelve digits, takes
0.15 s. The tests compare all of them with scipy's.
"""

import math
from functools import cache, lru_cache

import numpy as np
import scipy
from numpy.typing import ArrayLike

FARTHEST = 8.5
"""Normal variables beyond it do not count: their probability is below 1e-16."""
TAIL = 1e-15
"""Probability of either end of the scale that does not count."""
PLACES = 160
"""Points of the integral over the highest group."""
SCALES = 64
"""Points of the integral over the estimated standard deviation."""
STEPS = 50
"""Most steps to a quantile; it takes five to ten."""


def chi_square_quantiles(shares: ArrayLike, freedom: float) -> np.ndarray:
    """Return the quantiles of chi-square at ``shares`` of 0..1, an array of the same shape."""
    return np.asarray(2 * scipy.special.gammaincinv(freedom / 2, shares))


@lru_cache(maxsize=256)
def studentized_range_quantile(share: float, groups: int, freedom: int) -> float:
    """Return a quantile of the largest difference of group means, in standard errors of a mean.

    It is right to ten digits where groups have two seeds or more in common, so that there are
    groups - 1 degrees of freedom or more.

    Args:
        share: probability that the range is below the quantile, 0..1.
        groups: number of means, 2 or more.
        freedom: degrees of freedom of the standard error.
    """
    if groups == 2:
        # the range of two is the absolute value of a difference, whose variance is 2
        return math.sqrt(2) * float(scipy.special.stdtrit(freedom, (1 + share) / 2))
    # Bonferroni's bound over all pairs is a little above the quantile
    pairs = groups * (groups - 1) / 2
    bound = scipy.special.stdtrit(freedom, 1 - (1 - share) / (2 * pairs))
    high = math.sqrt(2) * float(bound)
    return _root(share, 0.9 * high, high, groups, freedom)


def _root(share: float, last: float, now: float, groups: int, freedom: int) -> float:
    """Return where the probability is ``share``, by the secant method from two places."""
    before = _probability(last, groups, freedom) - share
    for _ in range(STEPS):
        over = _probability(now, groups, freedom) - share
        step = over * (now - last) / (over - before)
        last, before, now = now, over, now - step
        if abs(step) <= 1e-10 * now:
            break
    return now


def _probability(range_: float, groups: int, freedom: int) -> float:
    """Return the probability of a smaller range (Lund and Lund, 1983, AS 190).

    It is an integral over the ratio of estimated and true standard deviation, a root of
    chi-square, and within it over the highest group.
    """
    least, most = _scale(TAIL, freedom), _scale(1 - TAIL, freedom)
    nodes, weights = _legendre(SCALES)
    half = (most - least) / 2
    scales = least + half * (1 + nodes)
    # density of the scale s: s^(f-1) · exp(-f s² / 2), up to a constant
    constant = math.log(2) + freedom / 2 * math.log(freedom / 2) - math.lgamma(freedom / 2)
    logarithm = constant + (freedom - 1) * np.log(scales) - freedom * scales**2 / 2
    within = _probability_of_normal(range_ * scales, groups)
    return float(half * (weights * np.exp(logarithm)) @ within)


@cache
def _legendre(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places in -1..1 and weights of Gauss-Legendre integration."""
    return np.polynomial.legendre.leggauss(points)


def _scale(share: float, freedom: int) -> float:
    return math.sqrt(float(chi_square_quantiles(share, freedom)) / freedom)


def _probability_of_normal(ranges: np.ndarray, groups: int) -> np.ndarray:
    """Return the probability that standard normal groups are within each range, (R,).

    One of them is the highest, at z. All others lie between z - range and z.
    """
    nodes, weights = _legendre(PLACES)
    highest = FARTHEST * nodes
    density = FARTHEST * weights * np.exp(-(highest**2) / 2) / math.sqrt(2 * math.pi)
    normal = scipy.special.ndtr
    others = normal(highest) - normal(highest - ranges[:, None])
    return np.asarray(groups * others ** (groups - 1) @ density)
