"""Who stands where in a setting: ranking, differences, what pretraining buys, and which costs are worth paying."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, median

from encoder_ablations.experiments.reporting.findings.collection import RunGroup, Setting
from encoder_ablations.experiments.runs.record import CostRecord, RunRecord
from encoder_ablations.experiments.stats.seeds import Difference, Summary, holm, paired_difference

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Cost:
    """Averages over the runs of a group; None where a run did not measure it.

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
    """One encoder at one fraction. ``on_front``: no other encoder is both cheaper (or equal) and of a higher mean."""

    group: RunGroup
    miou: Summary
    cost: Cost | None
    on_flops_front: bool
    on_latency_front: bool

    @property
    def encoder(self) -> str:
        return self.group.encoder


@dataclass(frozen=True)
class Comparison:
    """``first`` minus ``second`` at one fraction; ``p`` is corrected for the number of pairs in the setting."""

    first: RunGroup
    second: RunGroup
    difference: Difference
    p: float | None

    @property
    def holds(self) -> bool:
        """Whether the seeds show a difference: three or more of them, and a corrected p below 0.05."""
        return self.p is not None and self.p < SIGNIFICANT


@lru_cache(maxsize=1024)
def standings(setting: Setting, fraction: float | None) -> list[Standing]:
    """Encoders with a result at ``fraction``, largest mean mIoU first (equal ones by name)."""
    groups = [group for group in setting.at(fraction) if group.values()]
    groups.sort(key=lambda group: (-(group.score.mean or 0.0), group.encoder))
    costs = [cost_of(group.runs) for group in groups]
    quality = [group.score.mean or 0.0 for group in groups]
    by_flops = pareto_front([cost.flops if cost else None for cost in costs], quality)
    by_latency = pareto_front(
        [cost.latency[1] if cost and cost.latency else None for cost in costs], quality
    )
    return [
        Standing(group, group.score, cost, flops, latency)
        for group, cost, flops, latency in zip(groups, costs, by_flops, by_latency, strict=True)
    ]


def pareto_front(costs: Sequence[float | None], quality: Sequence[float]) -> list[bool]:
    """For each point whether no other one costs at most as much and is at least as good, one of both strictly."""
    points = list(zip(costs, quality, strict=True))
    front = []
    for cost, value in points:
        beaten = cost is None or any(
            c is not None and c <= cost and v >= value and (c < cost or v > value)
            for c, v in points
        )
        front.append(not beaten)
    return front


def cost_of(runs: Sequence[RunRecord]) -> Cost | None:
    """The cost of a group's runs; None if none recorded it."""
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
    """Every pair of encoders that share a seed, the one that ranks higher first."""
    ranked = [standing.group for standing in standings(setting, fraction)]
    pairs = []
    for position, first in enumerate(ranked):
        for second in ranked[position + 1 :]:
            difference = paired_difference(first.values(), second.values())
            if difference is not None:
                pairs.append((first, second, difference))
    corrected = holm([difference.p for _, _, difference in pairs])
    return [Comparison(*pair, p) for pair, p in zip(pairs, corrected, strict=True)]


def pretraining(setting: Setting, fraction: float | None) -> list[Comparison]:
    """For each architecture with both: loaded weights minus random ones."""
    found = []
    for pair in comparisons(setting, fraction):
        if pair.first.architecture != pair.second.architecture:
            continue
        if pair.second.random_weights and not pair.first.random_weights:
            found.append(pair)
        elif pair.first.random_weights and not pair.second.random_weights:
            found.append(Comparison(pair.second, pair.first, _reversed(pair.difference), pair.p))
    return found


def _reversed(difference: Difference) -> Difference:
    over = difference.over
    turned = Summary(
        over.n, _minus(over.mean), over.std, over.half_width, _minus(over.high), _minus(over.low)
    )
    return Difference(
        turned, difference.losses, difference.wins, _minus(difference.effect), difference.p
    )


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
