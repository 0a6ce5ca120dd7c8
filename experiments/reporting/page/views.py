"""The page's tables, as plain values for the template."""

from collections.abc import Callable
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.groups import (
    RunGroup,
    Setting,
)
from encoder_ablations.experiments.reporting.findings.image_intervals import Interval, Resampling
from encoder_ablations.experiments.reporting.findings.published_scores import Cited, citations
from encoder_ablations.experiments.reporting.findings.ranking import (
    Cost,
    Standing,
    comparisons,
    cost_of,
    find_pair,
    standings,
)
from encoder_ablations.experiments.reporting.sentences.method import image_sizes
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.stats.seeds import Summary
from encoder_ablations.utils.texts import duration


@dataclass(frozen=True)
class Strip:
    """Positions (0..100) on a small scale: the mean, the interval or range, every seed."""

    mean: float
    low: float
    high: float
    values: list[float]


@dataclass(frozen=True)
class RankingRow:
    """A line of the ranking; texts, but for numbers that are counted.

    Attributes:
        spread: interval or range of the score over seeds; "" for one seed.
        spread_name: which of the two it is.
        wide: interval over seeds and test images; "" without counts of the images.
        behind: points behind the first, over shared seeds.
        behind_spread: bounds of that.
        cost: name of ``COSTS`` -> text.
    """

    rank: int
    encoder: str
    miou: str
    spread: str
    spread_name: str
    strip: Strip
    wide: str
    published: Cited | None
    n: int
    failed: int
    behind: str
    behind_spread: str
    cost: dict[str, str]


def ranking(setting: Setting, resampling: Resampling | None = None) -> list[RankingRow]:
    """Return the ranking at the setting's reference fraction, best first."""
    ranked = standings(setting, setting.reference)
    place = _scale(*_bounds(ranked))
    pairs = comparisons(setting, setting.reference)
    cited = citations(standing.group for standing in ranked)
    rows = []
    for position, standing in enumerate(ranked):
        pair = find_pair(ranked[0], standing, pairs)
        group, summary = standing.group, standing.miou
        wide = resampling.interval(group) if resampling else None
        row = RankingRow(
            rank=position + 1,
            encoder=standing.encoder,
            miou=f"{100 * standing.mean:.1f}",
            spread=_spread(summary),
            spread_name=summary.spread,
            strip=_strip(group, place),
            wide="" if wide is None else _percents(wide),
            published=cited.get(group),
            n=summary.n,
            failed=len(group.failed),
            behind=formats.points(-pair.mean) if pair else "",
            behind_spread=_behind_spread(pair.difference.over) if pair else "",
            cost=cost_texts(standing.cost),
        )
        rows.append(row)
    return rows


def _strip(group: RunGroup, place: Callable[[float | None], float]) -> Strip:
    mean, low, high = place(group.score.mean), place(group.score.low), place(group.score.high)
    return Strip(mean, low, high, [place(value) for value in group.values().values()])


def ranking_scale(setting: Setting) -> tuple[str, str]:
    """Return the left and the right end of the strips, in percent."""
    low, high = _bounds(standings(setting, setting.reference))
    return f"{100 * low:.0f}", f"{100 * high:.0f}"


def _bounds(ranked: list[Standing]) -> tuple[float, float]:
    """Return whole percents around everything that the strips show, as shares."""
    lows = [standing.miou.low or 0.0 for standing in ranked] or [0.0]
    highs = [standing.miou.high or 0.0 for standing in ranked] or [1.0]
    return int(100 * max(min(lows), 0)) / 100, min(int(100 * max(highs)) + 1, 100) / 100


def _scale(low: float, high: float) -> Callable[[float | None], float]:
    width = max(high - low, 0.01)
    return lambda value: round(min(max(100 * ((value or 0.0) - low) / width, 0), 100), 1)


def _spread(summary: Summary) -> str:
    if summary.half_width is not None:
        return f"± {100 * summary.half_width:.1f}"
    if summary.n < 2:
        return ""
    return _percents((summary.low or 0.0, summary.high or 0.0))


def _percents(bounds: Interval) -> str:
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"


def _behind_spread(over: Summary) -> str:
    """Return the bounds of this encoder minus the first, from those of the first minus this."""
    if not over.spread:
        return ""
    return f"{formats.points(-(over.high or 0.0))} to {formats.points(-(over.low or 0.0))}"


def cost_texts(cost: Cost | None) -> dict[str, str]:
    """Return the text of every one of ``COSTS``; a dash for what was not measured."""
    texts = dict.fromkeys(COSTS, formats.DASH)
    if cost is None:
        return texts
    if cost.latency:
        low, middle, high = map(formats.milliseconds, cost.latency)
        texts |= {"latency": middle, "latency_range": f"{low}–{high}"}
    if cost.tokens is not None:
        texts["tokens"] = str(cost.tokens)
    return texts | {
        "parameters": formats.large(cost.parameters),
        "trainable": formats.large(cost.trainable),
        "flops": formats.giga(cost.flops),
        "images_per_second": f"{cost.images_per_second:.1f}",
        "training": duration(cost.train_seconds),
        "memory": formats.memory(cost.memory),
    }


COSTS = (
    "parameters",
    "trainable",
    "flops",
    "latency",
    "latency_range",
    "tokens",
    "images_per_second",
    "training",
    "memory",
)


def convergence_rows(setting: Setting, encoders: list[str]) -> list[list[str]]:
    """Return encoder, fraction, steps and epochs to 95 % of the best score, best step, epochs."""
    rows = []
    for fraction in reversed(setting.fractions):
        for encoder in encoders:
            group = setting.group(encoder, fraction)
            if group and any(run.convergence for run in group.runs):
                rows.append([encoder, formats.fraction(fraction), *_convergence(group)])
    return rows


DIGITS = {"step_to_95_percent": 0, "epochs_to_95_percent": 1, "best_step": 0, "epochs": 1}
"""Measure of convergence -> decimals that are shown."""


def _convergence(group: RunGroup) -> list[str]:
    texts = []
    for name, digits in DIGITS.items():
        summary = group.summary(_converged(name))
        texts.append(summary.text(scale=1, digits=digits, with_n=False))
    return [*texts, str(len(group.runs))]


def _converged(name: str) -> Callable[[RunRecord], float | None]:
    return lambda run: getattr(run.convergence, name) if run.convergence else None


def cost_rows(setting: Setting, encoders: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Return every encoder's texts of cost at the reference fraction."""
    groups = [(encoder, setting.group(encoder, setting.reference)) for encoder in encoders]
    return [(encoder, cost_texts(cost_of(group.runs))) for encoder, group in groups if group]


def input_size(setting: Setting) -> str:
    """Return height×width at which costs were measured at the reference fraction."""
    runs = [run for group in setting.at(setting.reference) for run in group.runs]
    return formats.listing(image_sizes(runs))
