"""Stability of rankings: Kendall's tau between fractions, heads, datasets, and seeds.

tau is the share of pairs of encoders in the same order minus the share in the opposite one: 1 the
same ranking, -1 the reverse. Its intervals say which rankings the seeds leave possible. A pair
counts as ordered when Tukey's simultaneous intervals (randomised blocks, the seeds being the
blocks) put one above the other; a pair that is not ordered may stand either way. They hold the true
tau at least as often as they say, usually more often.

Assumed: seeds independent, scores about normal, with equal variance for all encoders that are
ranked together.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from encoder_ablations.experiments.stats.distributions import (
    chi_square_quantiles,
    studentized_range_quantile,
)
from encoder_ablations.experiments.stats.seeds import CONFIDENCE, ENOUGH

Scores = Mapping[str, Mapping[int, float]]
"""Encoder -> seed -> score; every encoder has one seed or more."""
FAMILY = 1 - (1 - CONFIDENCE) / 2
"""Confidence of one of two families of intervals that hold at once with ``CONFIDENCE``."""


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau of two rankings, or its mean over pairs of seeds.

    Attributes:
        tau: -1..1.
        encoders: number of encoders that are ranked.
        seeds: number of seeds that all of them have.
        low: lower end of the 95 % interval; NaN below three seeds.
        high: upper end.
    """

    tau: float
    encoders: int
    seeds: int
    low: float = math.nan
    high: float = math.nan


def agreement(first: Scores, second: Scores) -> Agreement | None:
    """Return tau between the rankings by mean score under two conditions.

    Encoders count that have scores under both; None if there are fewer than two.
    """
    names = sorted(first.keys() & second.keys())
    if len(names) < 2:
        return None
    tau = _tau(_means(names, first), _means(names, second))
    blocks = [_block(names, first), _block(names, second)]
    seeds = min(block.shape[1] for block in blocks)
    if seeds < ENOUGH:
        return Agreement(tau, len(names), seeds)
    # two families of pairs: each keeps its promise with half of the allowed error
    orders = [_certain_order(block, FAMILY) for block in blocks]
    # 1: the pair is ordered alike, -1: in opposite ways, 0: its order is open
    known = orders[0] * orders[1]
    certain, undecided = known.sum(), (known == 0).sum()
    low, high = (certain - undecided) / len(known), (certain + undecided) / len(known)
    return Agreement(tau, len(names), seeds, float(low), float(high))


def agreement_of_seeds(scores: Scores) -> Agreement | None:
    """Return the mean tau between the rankings of two single seeds.

    None for fewer than two encoders or shared seeds.

    The interval is for the expected tau of two new seeds. With normal noise of standard deviation
    s, a single seed puts a pair with the true difference d in its right order with probability Φ(d
    / √2 s), so that the pair adds (2 Φ - 1)² to tau; simultaneous bounds of d and s give those of
    tau. The expected tau is never below 0, the mean over few seeds may be: the interval is then
    widened to hold it, too.
    """
    names = sorted(scores)
    if len(names) < 2:
        return None
    block = _block(names, scores)
    seeds = block.shape[1]
    if seeds < 2:
        return None
    tau = float(np.mean([_tau(*pair) for pair in combinations(block.T, 2)]))
    if seeds < ENOUGH:
        return Agreement(tau, len(names), seeds)
    apart, margin = np.abs(_differences(block)), _margin(block, FAMILY)
    sigma, freedom = _noise(block)
    tails = chi_square_quantiles([(1 + FAMILY) / 2, (1 - FAMILY) / 2], freedom)
    least, most = sigma * np.sqrt(freedom / tails)
    low = _expected_tau(np.maximum(apart - margin, 0), most)
    high = _expected_tau(apart + margin, least)
    return Agreement(tau, len(names), seeds, min(low, tau), max(high, tau))


def _tau(first: ArrayLike, second: ArrayLike) -> float:
    """Return Kendall's tau-b of two rankings; 0 if one of them has ties only."""
    one, other = (_order_of_pairs(np.asarray(scores)) for scores in (first, second))
    untied = np.count_nonzero(one), np.count_nonzero(other)
    if not all(untied):
        return 0.0
    tau = float((one * other).sum() / np.sqrt(untied[0]) / np.sqrt(untied[1]))
    # rounding may lead beyond the ends
    return min(1.0, max(-1.0, tau))


def _order_of_pairs(scores: np.ndarray) -> np.ndarray:
    """Return 1, -1 or 0 for each pair, as the first is above, below or equal to the second."""
    first, second = np.triu_indices(len(scores), k=1)
    return np.asarray(np.sign(scores[first] - scores[second]))


def _expected_tau(apart: np.ndarray, sigma: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(apart > 0, apart / (np.sqrt(2) * sigma), 0.0)
    return float(((2 * scipy.special.ndtr(steps) - 1) ** 2).mean())


def _means(names: list[str], scores: Scores) -> list[float]:
    return [float(np.mean(list(scores[name].values()))) for name in names]


def _block(names: list[str], scores: Scores) -> np.ndarray:
    """Return scores, encoders×seeds, for the seeds that all of them have."""
    shared = sorted(set.intersection(*(set(scores[name]) for name in names)))
    rows = [[scores[name][seed] for seed in shared] for name in names]
    return np.array(rows)


def _differences(block: np.ndarray) -> np.ndarray:
    """Return the mean of the first minus that of the second, for all pairs of encoders."""
    means = block.mean(axis=1)
    first, second = np.triu_indices(len(means), k=1)
    return np.asarray(means[first] - means[second])


def _noise(block: np.ndarray) -> tuple[float, int]:
    """Return the standard deviation that neither encoder nor seed explains, and its freedom."""
    rest = block - block.mean(axis=0) - block.mean(axis=1, keepdims=True) + block.mean()
    freedom = (block.shape[0] - 1) * (block.shape[1] - 1)
    return float(np.sqrt((rest**2).sum() / freedom)), freedom


def _margin(block: np.ndarray, confidence: float) -> float:
    """Return half the width of all pairs' simultaneous intervals (Tukey)."""
    sigma, freedom = _noise(block)
    quantile = studentized_range_quantile(confidence, len(block), freedom)
    return quantile * sigma / math.sqrt(block.shape[1])


def _certain_order(block: np.ndarray, confidence: float) -> np.ndarray:
    """Return for each pair 1 or -1 where one encoder is certainly above the other, else 0."""
    differences = _differences(block)
    return np.where(np.abs(differences) > _margin(block, confidence), np.sign(differences), 0)
