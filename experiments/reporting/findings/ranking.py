"""Ranking of a setting: scores, costs, differences between encoders, gain from pretraining."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean, median

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.runs.record import CostRecord, RunRecord
from encoder_ablations.experiments.stats.seeds import Difference, Summary, holm, paired_difference

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Cost:
    """Cost of a group, averaged over its runs; None for what was not measured.

    Attributes:
        flops: multiply-adds for one image at ``input_size`` (H, W).
        latency: (p10, median, p90) milliseconds for one image alone; medians over the runs.
        memory: largest peak in bytes.
    """

    parameters: int
    trainable: int
    flops: int
    input_size: tuple[int, int]
    tokens: int | None
    latency: tuple[float, float, float] | None
    images_per_second: float
    train_seconds: float
    memory: int


@dataclass(frozen=True)
class Standing:
    """One encoder at one fraction.

    Attributes:
        group: its runs.
        miou: mIoU over seeds, 0..1.
        cost: None where no run measured it.
        on_flops_front: whether no other encoder needs at most as much computation and has at least
            the same mean score, one of the two strictly.
        on_latency_front: the same for the latency of one image.
    """

    group: RunGroup
    miou: Summary
    cost: Cost | None
    on_flops_front: bool = False
    on_latency_front: bool = False

    @property
    def encoder(self) -> str:
        """Return the encoder's title."""
        return self.group.encoder

    @property
    def mean(self) -> float:
        """Return the mean mIoU, 0..1."""
        return self.miou.mean or 0.0

    @property
    def flops(self) -> int | None:
        """Return multiply-adds for one image; None where they were not measured."""
        return self.cost.flops if self.cost else None

    @property
    def latency(self) -> float | None:
        """Return the median time for one image alone in milliseconds; None if not measured."""
        return self.cost.latency[1] if self.cost and self.cost.latency else None


@dataclass(frozen=True)
class Comparison:
    """``first`` minus ``second`` at one fraction.

    Attributes:
        first: the encoder that ranks higher (in :func:`pretraining`: that with loaded weights).
        second: the other one.
        difference: over the seeds that both have.
        p: corrected for the number of pairs at this fraction; None below three seeds.
    """

    first: RunGroup
    second: RunGroup
    difference: Difference
    p: float | None

    @property
    def mean(self) -> float:
        """Return the mean difference of mIoU over the shared seeds."""
        return self.difference.over.mean or 0.0

    @property
    def holds(self) -> bool:
        """Whether the seeds show a difference: at least three, and a corrected p below 0.05."""
        return self.p is not None and self.p < SIGNIFICANT


@lru_cache(maxsize=1024)
def standings(setting: Setting, fraction: float | None) -> list[Standing]:
    """Return the encoders with a result at ``fraction``, largest mean mIoU first (ties by name)."""
    groups = [group for group in setting.at(fraction) if group.values()]
    groups.sort(key=lambda group: (-(group.score.mean or 0.0), group.encoder))
    ranked = [Standing(group, group.score, cost_of(group.runs)) for group in groups]
    means = [standing.mean for standing in ranked]
    on_flops = pareto_front([standing.flops for standing in ranked], means)
    on_latency = pareto_front([standing.latency for standing in ranked], means)
    return [
        replace(standing, on_flops_front=flops, on_latency_front=latency)
        for standing, flops, latency in zip(ranked, on_flops, on_latency, strict=True)
    ]


def pareto_front(costs: Sequence[float | None], quality: Sequence[float]) -> list[bool]:
    """Return for each point whether no other one is better in one value and as good in the other.

    Args:
        costs: less is better; a point without a cost (None) is never on the front.
        quality: more is better.
    """
    points = list(zip(costs, quality, strict=True))
    known = [(cost, value) for cost, value in points if cost is not None]
    return [cost is not None and not _beaten(cost, value, known) for cost, value in points]


def _beaten(cost: float, value: float, others: Sequence[tuple[float, float]]) -> bool:
    return any(
        other_cost <= cost and other >= value and (other_cost, other) != (cost, value)
        for other_cost, other in others
    )


def cost_of(runs: Sequence[RunRecord]) -> Cost | None:
    """Return the cost of a group's runs; None if no run recorded it."""
    found = [run.cost for run in runs if run.cost is not None]
    if not found:
        return None
    first = found[0]
    return Cost(
        parameters=first.parameters["total"],
        trainable=first.parameters["trainable"],
        flops=first.flops,
        input_size=first.input_size,
        tokens=first.tokens,
        latency=_latency(found),
        images_per_second=median(cost.images_per_second for cost in found),
        train_seconds=fmean(cost.train_seconds for cost in found),
        memory=max(cost.peak_memory_bytes for cost in found),
    )


def _latency(costs: Sequence[CostRecord]) -> tuple[float, float, float] | None:
    singles = [latency for cost in costs for latency in cost.latency_ms if latency.batch_size == 1]
    if not singles:
        return None
    p10, middle, p90 = (
        [getattr(latency, name) for latency in singles] for name in ("p10", "median", "p90")
    )
    return median(p10), median(middle), median(p90)


@lru_cache(maxsize=1024)
def comparisons(setting: Setting, fraction: float | None) -> list[Comparison]:
    """Return every pair of encoders that share a seed, the one that ranks higher first."""
    ranked = [standing.group for standing in standings(setting, fraction)]
    pairs = []
    for position, first in enumerate(ranked):
        for second in ranked[position + 1 :]:
            difference = paired_difference(first.values(), second.values())
            if difference is not None:
                pairs.append((first, second, difference))
    corrected = holm([difference.p for _, _, difference in pairs])
    return [Comparison(*pair, p) for pair, p in zip(pairs, corrected, strict=True)]


def find_pair(first: Standing, second: Standing, pairs: Sequence[Comparison]) -> Comparison | None:
    """Return the comparison of ``first`` with the lower-ranking ``second``, if any."""
    wanted = (first.group, second.group)
    return next((pair for pair in pairs if (pair.first, pair.second) == wanted), None)


def pretraining(setting: Setting, fraction: float | None) -> list[Comparison]:
    """Return loaded minus random weights, for each architecture that has runs of both."""
    found = []
    for pair in comparisons(setting, fraction):
        if pair.first.architecture != pair.second.architecture:
            continue
        from_random = (pair.first.random_weights, pair.second.random_weights)
        if from_random == (False, True):
            found.append(pair)
        elif from_random == (True, False):
            found.append(Comparison(pair.second, pair.first, _reversed(pair.difference), pair.p))
    return found


def _reversed(difference: Difference) -> Difference:
    over = difference.over
    low, high = _minus(over.high), _minus(over.low)
    turned = replace(over, mean=_minus(over.mean), low=low, high=high)
    wins, losses = difference.losses, difference.wins
    return Difference(turned, wins, losses, _minus(difference.effect), difference.p)


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
