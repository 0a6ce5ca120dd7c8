"""How many labelled images a curve needs to reach a score that was measured without labels.

The curve is linear in the logarithm of the number of images between the numbers that were measured.
Its interval holds every number of images at which the 95 % interval of curve minus target includes
0 (Fieller, 1954), and what lies between them. That of curve minus target covers seeds and test
images together (:mod:`bootstrap`); the target has no seeds, but the same images.
"""

import math
from collections.abc import Mapping

import numpy as np

from encoder_ablations.experiments.stats.bootstrap import (
    Resampled,
    interval_over_seeds_and_images,
)
from encoder_ablations.experiments.stats.efficiency import (
    Efficiency,
    efficiency_of_bounds,
    label_efficiency,
)
from encoder_ablations.experiments.stats.seeds import ENOUGH

GRID = 128
"""Points between the smallest and the largest number of images at which the interval is found."""
Score = tuple[float, Resampled | None]
"""A score on all test images, and on other ones; None where these are not known."""


def labels_needed(
    curve: Mapping[float, Mapping[int, Score]], target: Score
) -> tuple[Efficiency, bool] | None:
    """Return the number of images with which a curve reaches a target.

    Args:
        curve: number of images -> seed -> score; one number or more.
        target: what is to be reached; no seed changes it.

    Returns:
        The numbers of images (in place of shares of them), and whether their interval covers the
        choice of test images beside the seeds. None where the numbers of images share no seed.
    """
    seeds = sorted(set.intersection(*map(set, curve.values())))
    values = {images: {seed: scores[seed][0] for seed in seeds} for images, scores in curve.items()}
    found = label_efficiency(values, dict.fromkeys(seeds, target[0]))
    if found is None:
        return None
    scores = [curve[images][seed] for images in sorted(curve) for seed in seeds]
    known = all(resampled is not None for _, resampled in [*scores, target])
    if not known or found.n < ENOUGH:
        return found, False
    return _with_images(curve, target, seeds, found), True


def _with_images(
    curve: Mapping[float, Mapping[int, Score]],
    target: Score,
    seeds: list[int],
    found: Efficiency,
) -> Efficiency:
    """Return what was found with an interval over seeds and images."""
    numbers = sorted(curve)
    places = np.log(numbers)
    grid = np.union1d(np.linspace(places[0], places[-1], GRID), places)
    over = [[_minus(curve[number][seed], target) for number in numbers] for seed in seeds]
    bounds = []
    for place in grid:
        # a line between the numbers of images on both sides, seed by seed and draw by draw
        weights = [np.interp(place, places, row) for row in np.eye(len(numbers))]
        values, others = zip(*(_weighted(row, weights) for row in over), strict=True)
        bounds.append(interval_over_seeds_and_images(values, others))
    low, high = np.array(bounds).T
    return efficiency_of_bounds(grid, low, high, found)


def _minus(score: Score, target: Score) -> tuple[float, Resampled]:
    assert score[1] is not None
    assert target[1] is not None
    return score[0] - target[0], score[1].minus(target[1])


def _weighted(row: list[tuple[float, Resampled]], weights: list[float]) -> tuple[float, Resampled]:
    """Return the weighted sum of one seed's scores."""
    value = math.fsum(weight * each for (each, _), weight in zip(row, weights, strict=True))
    draws = np.tensordot(weights, [each.draws for _, each in row], axes=1)
    left_out = np.tensordot(weights, [each.left_out for _, each in row], axes=1)
    return value, Resampled(draws, left_out)
