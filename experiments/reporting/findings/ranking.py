"""Ranking of a setting: scores, costs, differences between encoders, gain from pretraining."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean, median

import numpy as np

from encoder_ablations.experiments.reporting.findings.groups import (
    FinishedRun,
    RunGroup,
    Setting,
    best_first,
    once_per_setting,
)
from encoder_ablations.experiments.runs.record_parts import CostRecord
from encoder_ablations.experiments.stats.seeds import (
    ENOUGH,
    Difference,
    Summary,
    holm,
    paired_difference,
)

SIGNIFICANT = 0.05
NOTHING_SHARED = Difference()
"""The difference of encoders that share no seed."""


@dataclass(frozen=True)
class Cost:
    """Cost of a group, averaged over its runs.

    Attributes:
        flops: multiply-adds for one image at ``input_size`` (H, W).
        tokens: patch tokens per image; None for convolutional encoders.
        latency: (p10, median, p90) milliseconds for one image alone; medians over the runs.
        memory: largest peak in bytes.
    """

    parameters: int
    trainable: int
    flops: int
    tokens: int | None
    latency: tuple[float, float, float]
    images_per_second: float
    train_seconds: float
    memory: int


@dataclass(frozen=True)
class Standing:
    """One encoder at one fraction.

    Attributes:
        group: its runs.
        cost: their cost.
        on_flops_front: whether no other encoder needs at most as much computation and has at least
            the same mean score, one of the two strictly.
        on_latency_front: the same for the latency of one image.
    """

    group: RunGroup
    cost: Cost
    on_flops_front: bool = False
    on_latency_front: bool = False

    @property
    def encoder(self) -> str:
        """Return the encoder's title."""
        return self.group.encoder

    @property
    def score(self) -> Summary:
        """Return the main metric over seeds, 0..1."""
        return self.group.score

    @property
    def flops(self) -> int:
        """Return multiply-adds for one image."""
        return self.cost.flops

    @property
    def latency(self) -> float:
        """Return the median time for one image alone in milliseconds."""
        return self.cost.latency[1]


@dataclass(frozen=True)
class Comparison:
    """``first`` minus ``second`` at one fraction.

    Attributes:
        first: the encoder that ranks higher (in :func:`pretraining`: that with loaded weights).
        second: the other one.
        difference: over the seeds that both have.
        p: corrected for the number of pairs at this fraction; NaN below three seeds.
    """

    first: RunGroup
    second: RunGroup
    difference: Difference = NOTHING_SHARED
    p: float = math.nan

    @property
    def seeds(self) -> int:
        """Return the number of seeds that both encoders have."""
        return self.difference.over.n

    @property
    def mean(self) -> float:
        """Return the mean difference of the main metric over the shared seeds; NaN without any."""
        return self.difference.over.mean

    @property
    def tested(self) -> bool:
        """Whether both encoders share enough seeds for a test."""
        return self.seeds >= ENOUGH

    @property
    def holds(self) -> bool:
        """Whether the seeds show a difference: at least three, and a corrected p below 0.05."""
        return self.p < SIGNIFICANT

    @property
    def first_is_better(self) -> bool:
        """Whether the seeds show that the first encoder scores more."""
        return self.holds and self.mean > 0

    @property
    def names(self) -> tuple[str, str]:
        """Return the titles of both encoders."""
        return self.first.encoder, self.second.encoder

    @property
    def same_network(self) -> bool:
        """Whether both are one architecture, with loaded and with random weights."""
        random_weights = {self.first.random_weights, self.second.random_weights}
        return self.first.architecture == self.second.architecture and len(random_weights) == 2

    def loaded_first(self) -> "Comparison":
        """Return loaded minus random weights."""
        if self.first.random_weights:
            return self.reversed()
        return self

    def reversed(self) -> "Comparison":
        """Return ``second`` minus ``first``."""
        found = self.difference
        over = found.over
        # the low end of one is the high end of the other
        turned = replace(over, mean=-over.mean, low=-over.high, high=-over.low)
        difference = Difference(turned, found.losses, found.wins, -found.effect, found.p)
        return Comparison(self.second, self.first, difference, self.p)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The encoders of a setting at one share of the images.

    Attributes:
        standings: the encoders with a result, largest mean score first (ties by name).
        comparisons: every pair of encoders that share a seed, the one that ranks higher first.
    """

    standings: list[Standing]
    comparisons: list[Comparison]

    @property
    def leader(self) -> Standing:
        """Return the encoder with the largest mean."""
        return self.standings[0]

    @cached_property
    def encoders(self) -> list[str]:
        """Return the titles of the encoders."""
        return [standing.encoder for standing in self.standings]

    @cached_property
    def cheapest_first(self) -> list[Standing]:
        """Return the encoders by their computation; of equal ones, the one that ranks higher."""
        return sorted(self.standings, key=lambda standing: standing.flops)

    @cached_property
    def front(self) -> list[Standing]:
        """Return the encoders on the front of computation and mean score, best first."""
        return [standing for standing in self.standings if standing.on_flops_front]

    @cached_property
    def against_leader(self) -> list[Comparison]:
        """Return the comparisons of the leader with those that share a seed with it."""
        return [pair for pair in self.comparisons if pair.first is self.leader.group]

    @cached_property
    def _pairs(self) -> dict[tuple[str, str], Comparison]:
        return {pair.names: pair for pair in self.comparisons}

    def pair(self, first: Standing, second: Standing) -> Comparison:
        """Return ``first`` minus ``second``, which ranks lower; of no seed if they share none."""
        unknown = Comparison(first.group, second.group)
        return self._pairs.get((first.encoder, second.encoder), unknown)


@once_per_setting
def ranking(setting: Setting, fraction: float) -> Ranking:
    """Return the ranking of a setting's encoders at ``fraction``."""
    groups = sorted(setting.scored_at(fraction), key=best_first)
    return Ranking(_standings(groups), _comparisons(groups))


def _standings(groups: Sequence[RunGroup]) -> list[Standing]:
    ranked = [Standing(group, cost_of(group.runs)) for group in groups]
    means = [group.score.mean for group in groups]
    on_flops = pareto_front([standing.flops for standing in ranked], means)
    on_latency = pareto_front([standing.latency for standing in ranked], means)
    return [
        replace(standing, on_flops_front=flops, on_latency_front=latency)
        for standing, flops, latency in zip(ranked, on_flops, on_latency, strict=True)
    ]


def pareto_front(costs: Sequence[float], quality: Sequence[float]) -> list[bool]:
    """Return for each point whether no other one is better in one value and as good in the other.

    Args:
        costs: less is better.
        quality: more is better.
    """
    cost, value = np.array(costs), np.array(quality)
    # [i, j]: how point j compares with point i
    as_good = (cost <= cost[:, None]) & (value >= value[:, None])
    better = (cost < cost[:, None]) | (value > value[:, None])
    beaten = np.any(as_good & better, axis=1)
    return [bool(best) for best in np.atleast_1d(~beaten)]


def cost_of(runs: Sequence[FinishedRun]) -> Cost:
    """Return the cost of a group's runs; there is one or more."""
    costs = [run.cost for run in runs]
    first = costs[0]
    return Cost(
        parameters=first.parameters["total"],
        trainable=first.parameters["trainable"],
        flops=first.flops,
        tokens=first.tokens,
        latency=_latency(costs),
        images_per_second=median(cost.images_per_second for cost in costs),
        train_seconds=fmean(cost.train_seconds for cost in costs),
        memory=max(cost.peak_memory_bytes for cost in costs),
    )


def _latency(costs: Sequence[CostRecord]) -> tuple[float, float, float]:
    singles = [latency for cost in costs for latency in cost.latency_ms if latency.batch_size == 1]
    measured = [(latency.p10, latency.median, latency.p90) for latency in singles]
    p10, middle, p90 = map(median, zip(*measured, strict=True))
    return p10, middle, p90


def _comparisons(groups: Sequence[RunGroup]) -> list[Comparison]:
    found = [
        Comparison(first, second, _difference(first, second))
        for first, second in combinations(groups, 2)
    ]
    shared = [pair for pair in found if pair.seeds]
    # the more pairs are tested, the stricter every test
    corrected = holm([pair.difference.p for pair in shared])
    return [replace(pair, p=p) for pair, p in zip(shared, corrected, strict=True)]


def _difference(first: RunGroup, second: RunGroup) -> Difference:
    return paired_difference(first.values(), second.values(), first.most_seeds)


def pretraining(setting: Setting, fraction: float) -> list[Comparison]:
    """Return loaded minus random weights, for each architecture that has runs of both."""
    pairs = ranking(setting, fraction).comparisons
    return [pair.loaded_first() for pair in pairs if pair.same_network]
