"""The page's tables, as plain values for the template."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from operator import attrgetter

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.image_intervals import Interval, Resampling
from encoder_ablations.experiments.reporting.findings.published_scores import Cited, citations
from encoder_ablations.experiments.reporting.findings.ranking import (
    Cost,
    Standing,
    cost_of,
    ranking,
)
from encoder_ablations.experiments.reporting.sentences.cautions import image_sizes
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import ENOUGH, Summary
from encoder_ablations.utils.texts import data_size, duration


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
        rank: 1 for the best.
        encoder: its title.
        score: mean over seeds, in percent.
        spread: interval or range of the score over seeds; "" for one seed.
        spread_name: which of the two it is.
        strip: the same on a small scale.
        wide: interval over seeds and test images; "" without counts of the images.
        published: what the literature reports, if the study names it.
        n: number of seeds.
        failed: number of failed runs.
        behind: points behind the first, over shared seeds.
        behind_spread: bounds of that.
        cost: see :func:`cost_texts`.
    """

    rank: int
    encoder: str
    score: str
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


Scale = Callable[[float], float]
"""A score in 0..1 -> position on a strip, 0..100."""


def ranking_rows(setting: Setting, resampling: Resampling) -> list[RankingRow]:
    """Return the ranking at the setting's reference fraction, best first."""
    ranked = ranking(setting, setting.reference)
    place = _scale(*_bounds(ranked.standings))
    cited = citations(standing.group for standing in ranked.standings)
    rows = []
    for rank, standing in enumerate(ranked.standings, start=1):
        pair = ranked.pair(ranked.leader, standing)
        group, summary = standing.group, standing.score
        row = RankingRow(
            rank=rank,
            encoder=standing.encoder,
            score=formats.percent(summary.mean),
            spread=_spread(summary),
            spread_name=summary.spread,
            strip=_strip(group, place),
            wide=_percents(resampling.interval(group)),
            published=cited.get(group),
            n=summary.n,
            failed=len(group.failed),
            behind=formats.points(-pair.mean),
            behind_spread=formats.behind(pair.difference.over),
            cost=cost_texts(standing.cost),
        )
        rows.append(row)
    return rows


def _strip(group: RunGroup, place: Scale) -> Strip:
    mean, low, high = map(place, (group.score.mean, group.score.low, group.score.high))
    return Strip(mean, low, high, list(map(place, group.values().values())))


def ranking_scale(setting: Setting) -> tuple[str, str]:
    """Return the left and the right end of the strips, in percent."""
    low, high = _bounds(ranking(setting, setting.reference).standings)
    return f"{100 * low:.0f}", f"{100 * high:.0f}"


def _bounds(ranked: list[Standing]) -> tuple[float, float]:
    """Return whole percents around everything that the strips show, as shares."""
    # bounds, not means, decide how wide the scale is
    lows = [standing.score.low for standing in ranked]
    highs = [standing.score.high for standing in ranked]
    low, high = max(min(lows, default=0.0), 0), max(highs, default=1.0)
    return int(100 * low) / 100, min(int(100 * high) + 1, 100) / 100


def _scale(low: float, high: float) -> Scale:
    width = max(high - low, 0.01)
    return lambda value: round(min(max(100 * (value - low) / width, 0), 100), 1)


def _spread(summary: Summary) -> str:
    """Return the interval from three seeds on, the range of two, "" for one."""
    if summary.n >= ENOUGH:
        return formats.half_width(summary)
    if summary.n == 1:
        return ""
    return _percents((summary.low, summary.high))


def _percents(bounds: Interval) -> str:
    """Return both ends in percent; "" for NaN."""
    return "–".join(filter(None, map(formats.percent, bounds)))


def cost_texts(cost: Cost) -> dict[str, str]:
    """Return the text of every cost; a dash for the tokens of a convolutional encoder."""
    low, middle, high = map(formats.three_digits, cost.latency)
    tokens = formats.DASH if cost.tokens is None else str(cost.tokens)
    return {
        "parameters": formats.large(cost.parameters),
        "trainable": formats.large(cost.trainable),
        "flops": formats.giga(cost.flops),
        "latency": middle,
        "latency_range": f"{low}–{high}",
        "tokens": tokens,
        "images_per_second": f"{cost.images_per_second:.1f}",
        "training": duration(cost.train_seconds),
        "memory": data_size(cost.memory),
    }


def convergence_rows(setting: Setting, encoders: Iterable[str]) -> list[list[str]]:
    """Return encoder, fraction, steps and epochs to 95 % of the best score, best step, epochs."""
    places = product(reversed(setting.fractions), encoders)
    groups = [setting.group(encoder, fraction) for fraction, encoder in places]
    return [_convergence(group) for group in groups if _has_curve(group)]


def _has_curve(group: RunGroup) -> bool:
    """Return whether a run of a group was evaluated several times while it trained."""
    trained = [run for run in group.runs if run.convergence is not None]
    return any(len(run.curves.val_steps) > 1 for run in trained)


DIGITS = {"step_to_95_percent": 0, "epochs_to_95_percent": 1, "best_step": 0, "epochs": 1}
"""Measure of convergence -> decimals that are shown."""


def _convergence(group: RunGroup) -> list[str]:
    texts = [
        group.summary(attrgetter(f"convergence.{name}")).text(scale=1, digits=digits)
        for name, digits in DIGITS.items()
    ]
    return [group.encoder, formats.fraction(group.fraction), *texts, str(len(group.runs))]


def cost_rows(setting: Setting, encoders: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Return the texts of cost of encoders that have runs at the reference fraction."""
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    return [(group.encoder, cost_texts(cost_of(group.runs))) for group in groups]


def input_size(setting: Setting) -> str:
    """Return height×width at which costs were measured at the reference fraction."""
    runs = [run for run in setting.runs if run.spec.fraction == setting.reference]
    return formats.listing(image_sizes(runs))
