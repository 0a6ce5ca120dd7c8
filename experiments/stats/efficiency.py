"""Images and training steps that are needed to reach a score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from encoder_ablations.experiments.stats.seeds import CONFIDENCE, ENOUGH

GRID = 512
"""Points between the smallest and the largest fraction at which the interval is looked up."""


@dataclass(frozen=True)
class Efficiency:
    """The share of the images at which one encoder reaches a score.

    Attributes:
        fraction: None if its mean never gets there.
        at_most: the smallest measured fraction already gives that score, so ``fraction`` is an
            upper bound.
        low: lower end of the 95 % interval; None below three seeds.
        high: upper end.
        low_open: fewer images than were ever measured may suffice.
        high_open: all images may not suffice.
        n: seeds.
    """

    fraction: float | None
    at_most: bool
    low: float | None
    high: float | None
    low_open: bool
    high_open: bool
    n: int


def label_efficiency(
    curve: Mapping[float, Mapping[int, float]], target: Mapping[int, float]
) -> Efficiency | None:
    """Return where ``curve`` reaches ``target``; None without shared seeds.

    The curve is linear between fractions on a logarithmic scale. The interval holds every fraction
    at which the paired t interval of curve minus target includes 0 (Fieller, 1954), and what lies
    between them. It is exact where differences are normal and the mean crosses the target once.

    Args:
        curve: fraction -> seed -> score.
        target: seed -> score that is to be reached.
    """
    fractions = sorted(curve)
    shared = sorted(set(target).intersection(*curve.values())) if curve else []
    if not shared:
        return None
    # curve minus target, seeds×grid
    places = np.log(fractions)
    grid = np.union1d(np.linspace(places[0], places[-1], GRID), places)
    scores = np.array([[curve[fraction][seed] for fraction in fractions] for seed in shared])
    over = np.array(
        [np.interp(grid, places, row) - target[s] for row, s in zip(scores, shared, strict=True)]
    )
    mean = over.mean(axis=0)
    reached = _crossing(grid, mean)
    fraction = None if reached is None else float(np.exp(reached))
    at_most = bool(mean[0] >= 0)
    if len(shared) < ENOUGH:
        return Efficiency(fraction, at_most, None, None, False, False, len(shared))
    # Fieller: the places at which a difference of 0 is possible
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(shared) - 1) * stats.sem(over, axis=0)
    possible = np.flatnonzero((mean - half <= 0) & (mean + half >= 0))
    if not len(possible):
        # certainly above or below the target everywhere, or it crosses between two grid points
        possible = np.array([np.argmin(np.abs(mean))])
    first, last = int(possible[0]), int(possible[-1])
    low_open = bool(first == 0 and mean[0] + half[0] >= 0)
    high_open = bool(last == len(grid) - 1 and mean[-1] - half[-1] <= 0)
    ends = [float(np.exp(grid[place])) for place in (first, last)]
    if fraction is not None:
        ends.append(fraction)  # may lie between two points of the grid
    return Efficiency(fraction, at_most, min(ends), max(ends), low_open, high_open, len(shared))


def steps_to_reach(
    steps: Sequence[float], scores: Sequence[float | None], target: float
) -> float | None:
    """Return the step at which a training curve first reaches ``target``; None if it never does.

    The curve is linear between evaluations. Where it starts above the target, its first step is
    returned, as nothing was evaluated before.
    """
    known = [(step, score) for step, score in zip(steps, scores, strict=True) if score is not None]
    if not known:
        return None
    found = _crossing(
        np.array([step for step, _ in known], float),
        np.array([score for _, score in known]) - target,
    )
    return None if found is None else float(found)


def _crossing(places: np.ndarray, over: np.ndarray) -> float | None:
    """Return the first place at which ``over`` reaches 0."""
    above = np.flatnonzero(over >= 0)
    if not len(above):
        return None
    last = int(above[0])
    if last == 0:
        return float(places[0])
    return float(np.interp(0.0, over[last - 1 : last + 1], places[last - 1 : last + 1]))
