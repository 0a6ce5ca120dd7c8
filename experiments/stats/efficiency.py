"""Images and training steps that are needed to reach a score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from encoder_ablations.experiments.stats.seeds import CONFIDENCE, ENOUGH

GRID = 512
"""Points between the smallest and the largest fraction at which the interval is looked up."""


@dataclass(frozen=True)
class Efficiency:
    """The share of the images at which one encoder reaches a score.

    Attributes:
        fraction: NaN if its mean never gets there.
        at_most: the smallest measured fraction already gives that score, so ``fraction`` is an
            upper bound.
        n: seeds.
        low: lower end of the 95 % interval; NaN below three seeds.
        high: upper end.
        low_open: fewer images than were ever measured may suffice.
        high_open: all images may not suffice.
    """

    fraction: float
    at_most: bool
    n: int
    low: float = math.nan
    high: float = math.nan
    low_open: bool = False
    high_open: bool = False


def label_efficiency(
    curve: Mapping[float, Mapping[int, float]], target: Mapping[int, float]
) -> Efficiency | None:
    """Return where ``curve`` reaches ``target``; None without shared seeds.

    The curve is linear between fractions on a logarithmic scale.

    Args:
        curve: fraction -> seed -> score; one fraction or more.
        target: seed -> score that is to be reached.
    """
    shared = sorted(set(target).intersection(*curve.values()))
    if not shared:
        return None
    grid, over = _over_target(curve, target, shared)
    mean = over.mean(axis=0)
    fraction = float(np.exp(_crossing(grid, mean)))
    at_most = bool(mean[0] >= 0)
    found = Efficiency(fraction, at_most, len(shared))
    if found.n < ENOUGH:
        return found
    return _with_interval(grid, over, found)


def _over_target(
    curve: Mapping[float, Mapping[int, float]], target: Mapping[int, float], seeds: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid of logarithmic fractions (G,), and curve minus target there, seeds×G."""
    fractions = sorted(curve)
    places = np.log(fractions)
    grid = np.union1d(np.linspace(places[0], places[-1], GRID), places)
    scores = [[curve[fraction][seed] for fraction in fractions] for seed in seeds]
    over = [np.interp(grid, places, row) for row in scores]
    return grid, np.array(over) - [[target[seed]] for seed in seeds]


def _with_interval(grid: np.ndarray, over: np.ndarray, found: Efficiency) -> Efficiency:
    """Return what was found with its 95 % interval from the paired t intervals at every place.

    It is exact where differences are normal and the mean crosses the target once. Where the mean
    crosses it several times, the interval is too wide rather than too narrow.
    """
    seeds, mean = len(over), over.mean(axis=0)
    error = over.std(axis=0, ddof=1) / math.sqrt(seeds)
    half = scipy.special.stdtrit(seeds - 1, (1 + CONFIDENCE) / 2) * error
    return efficiency_of_bounds(grid, mean - half, mean + half, found)


def efficiency_of_bounds(
    grid: np.ndarray, low: np.ndarray, high: np.ndarray, found: Efficiency
) -> Efficiency:
    """Return what was found with the 95 % interval of the fraction.

    The fraction is the first one at which the curve reaches the target. The interval holds every
    fraction at which the interval of curve minus target includes 0 (Fieller, 1954), and what lies
    between them. Beyond the measured fractions there is no curve, so that its ends decide:

    - certainly above the target at the smallest fraction: less than that is enough, wherever the
      curve goes from there;
    - nowhere certainly above: all images may not be enough;
    - certainly below everywhere: all images are not enough.

    Args:
        grid: logarithms of the fractions, (G,).
        low: lower end of the interval of curve minus target there, (G,).
        high: upper end, (G,).
        found: the fraction at which the mean reaches the target.
    """
    first, last = float(np.exp(grid[0])), float(np.exp(grid[-1]))
    if low[0] > 0:
        return replace(found, low=first, high=first, low_open=True)
    if np.all(high < 0):
        return replace(found, low=last, high=last, high_open=True)
    # Fieller: the places at which a difference of 0 is possible; none where the curve crosses
    # between two points of the grid, then the fraction itself is the interval
    possible = np.exp(grid[(low <= 0) & (high >= 0)])
    ends = [*possible, found.fraction]
    never_above = bool(np.all(low <= 0))
    return replace(
        found,
        low=float(np.nanmin(ends)),
        high=last if never_above else float(np.nanmax(ends)),
        low_open=bool(high[0] >= 0),
        high_open=never_above,
    )


def steps_to_reach(steps: Sequence[float], scores: Sequence[float | None], target: float) -> float:
    """Return the step at which a training curve first reaches ``target``; NaN if it never does.

    The curve is linear between evaluations. Where it starts above the target, its first step is
    returned, as nothing was evaluated before.
    """
    over = np.array(scores, dtype=np.float64) - target
    known = ~np.isnan(over)
    return _crossing(np.array(steps, dtype=np.float64)[known], over[known])


def _crossing(places: np.ndarray, over: np.ndarray) -> float:
    """Return the first place at which ``over`` reaches 0; NaN if it never does."""
    above = np.flatnonzero(over >= 0)
    if not len(above):
        return math.nan
    # on a line from the place before, if the first one is not above already
    around = slice(max(above[0] - 1, 0), above[0] + 1)
    return float(np.interp(0.0, over[around], places[around]))
