"""By how much an arm of one study differs from the same arm of another."""

import math
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.comparing.arms import Pair
from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.stats.bootstrap import (
    Resampled,
    interval_over_images,
    interval_over_seeds_and_images,
)
from encoder_ablations.experiments.stats.seeds import ENOUGH, paired_difference
from encoder_ablations.experiments.stats.unpaired import unpaired_interval
from encoder_ablations.utils.texts import plural

Scores = dict[int, tuple[float, Resampled | None]]
"""Seed -> the score, and the same on other images where their counts are known."""


@dataclass(frozen=True)
class Difference:
    """Second study minus first.

    Attributes:
        mean: 0..1; over the shared seeds where it is paired.
        low, high: the 95 % interval; NaN where nobody can tell.
        kind: how it was computed, in words.
    """

    mean: float
    low: float
    high: float
    kind: str


def difference_of(pair: Pair, first: Resampling, second: Resampling) -> Difference:
    """Return the difference of an arm that may be compared.

    Args:
        pair: the arm.
        first: the counts of the first study's images.
        second: those of the second.
    """
    before, after = first.scores(pair.first), second.scores(pair.second)
    if pair.first.without_labels:
        return _over_images(before, after)
    shared = before.keys() & after.keys()
    # a part of the seeds is too little to pair by, where all of them allow an interval
    unpaired = min(len(before), len(after)) >= ENOUGH > len(shared)
    if not shared or unpaired:
        return _unpaired(pair.first, pair.second)
    return _paired(pair, before, after)


def _paired(pair: Pair, before: Scores, after: Scores) -> Difference:
    over = paired_difference(pair.second.values(), pair.first.values()).over
    seeds = sorted(before.keys() & after.keys())
    kind = f"paired, {plural(len(seeds), 'seed')}"
    if len(seeds) < max(len(before), len(after)):
        # the means beside it are of all seeds, so that it is not their difference
        kind = f"paired, {plural(len(seeds), 'seed')} that both have"
    if over.n < ENOUGH:
        return Difference(over.mean, math.nan, math.nan, f"{kind}: too few for an interval")
    others = [_minus(after[seed][1], before[seed][1]) for seed in seeds]
    known = [other for other in others if other is not None]
    # other scenes are drawn where names of images are read in another way
    patterns = {group.spec.dataset.scene_pattern for group in (pair.first, pair.second)}
    if len(known) < len(seeds) or len(patterns) > 1:
        return Difference(over.mean, over.low, over.high, kind)
    values = [after[seed][0] - before[seed][0] for seed in seeds]
    low, high = interval_over_seeds_and_images(values, known)
    return Difference(over.mean, low, high, f"{kind} and the test images")


def _minus(after: Resampled | None, before: Resampled | None) -> Resampled | None:
    """Return the difference on other images; None where one of the two is unknown."""
    if after is None or before is None or len(after.left_out) != len(before.left_out):
        return None
    return after.minus(before)


def _unpaired(first: RunGroup, second: RunGroup) -> Difference:
    before, after = list(first.values().values()), list(second.values().values())
    low, high = unpaired_interval(after, before)
    kind = f"unpaired, {len(before)} and {len(after)} seeds"
    if math.isnan(low):
        kind += ": too few for an interval"
    return Difference(second.score.mean - first.score.mean, low, high, kind)


def _over_images(before: Scores, after: Scores) -> Difference:
    """Return the difference of two heads without labels, in which only the images are random."""
    (one, of_one), (other, of_other) = next(iter(before.values())), next(iter(after.values()))
    resampled = _minus(of_other, of_one)
    if resampled is None:
        return Difference(other - one, math.nan, math.nan, "no counts of the test images")
    low, high = interval_over_images(other - one, resampled)
    return Difference(other - one, low, high, "paired, the test images")
