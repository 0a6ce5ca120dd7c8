"""The page's tables, as plain values for the template."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from encoder_ablations.experiments.reporting.figures.confusion import row_shares
from encoder_ablations.experiments.reporting.findings.groups import Reading, RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.groups import class_iou as iou_of
from encoder_ablations.experiments.reporting.findings.image_intervals import Interval, Resampling
from encoder_ablations.experiments.reporting.findings.published_scores import Cited, citations
from encoder_ablations.experiments.reporting.findings.ranking import (
    Cost,
    Standing,
    comparisons,
    cost_of,
    pretraining,
    standings,
)
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


@dataclass(frozen=True)
class GridCell:
    text: str
    best: bool


@dataclass(frozen=True)
class Grid:
    """Named rows over named columns; ``best`` marks the highest mean among the cells that are compared."""

    columns: list[str]
    rows: list[tuple[str, list[GridCell]]]


def ranking(setting: Setting, resampling: Resampling | None = None) -> list[RankingRow]:
    """The setting's reference fraction, best first."""
    ranked = standings(setting, setting.reference)
    low, high = _bounds(ranked)
    against = {
        pair.second.encoder: pair
        for pair in comparisons(setting, setting.reference)
        if pair.first is ranked[0].group
    }
    cited = citations(standing.group for standing in ranked)
    rows = []
    for position, standing in enumerate(ranked):
        pair = against.get(standing.encoder)
        group, summary = standing.group, standing.miou
        place = _scale(low, high)
        strip = Strip(
            place(summary.mean),
            place(summary.low),
            place(summary.high),
            [*map(place, group.values().values())],
        )
        rows.append(
            RankingRow(
                rank=position + 1,
                encoder=standing.encoder,
                miou=f"{100 * (summary.mean or 0):.1f}",
                spread=_spread(summary),
                spread_name=summary.spread,
                strip=strip,
                wide=_percents(resampling.interval(group)) if resampling else "",
                published=cited.get(group),
                n=summary.n,
                failed=len(group.failed),
                behind=formats.points(-(pair.difference.over.mean or 0.0)) if pair else "",
                behind_spread=_behind_spread(pair.difference.over) if pair else "",
                cost=cost_texts(standing.cost),
            )
        )
    return rows


def ranking_scale(setting: Setting) -> tuple[str, str]:
    """Left and right end of the strips, in percent."""
    low, high = _bounds(standings(setting, setting.reference))
    return f"{100 * low:.0f}", f"{100 * high:.0f}"


def _bounds(ranked: list[Standing]) -> tuple[float, float]:
    """Whole percents around everything that the strips show."""
    lows = [standing.miou.low or 0.0 for standing in ranked] or [0.0]
    highs = [standing.miou.high or 0.0 for standing in ranked] or [1.0]
    return int(100 * max(min(lows), 0)) / 100, min(int(100 * max(highs)) + 1, 100) / 100


def _scale(low: float, high: float) -> Callable[[float | None], float]:
    width = max(high - low, 0.01)
    return lambda value: round(min(max(100 * ((value or 0.0) - low) / width, 0), 100), 1)


def _spread(summary: Summary) -> str:
    if summary.half_width is not None:
        return f"± {100 * summary.half_width:.1f}"
    return (
        f"{100 * (summary.low or 0):.1f}–{100 * (summary.high or 0):.1f}" if summary.n > 1 else ""
    )


def _percents(bounds: Interval | None) -> str:
    return "" if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"


def _behind_spread(over: Summary) -> str:
    """Bounds of this encoder minus the first, from the first minus this one."""
    return (
        f"{formats.points(-(over.high or 0.0))} to {formats.points(-(over.low or 0.0))}"
        if over.spread
        else ""
    )


def cost_texts(cost: Cost | None) -> dict[str, str]:
    if cost is None:
        return dict.fromkeys(COSTS, formats.DASH)
    p10, middle, p90 = map(formats.milliseconds, cost.latency or (None, None, None))
    return {
        "parameters": formats.large(cost.parameters),
        "trainable": formats.large(cost.trainable),
        "flops": formats.giga(cost.flops),
        "latency": middle,
        "latency_range": f"{p10}–{p90}" if cost.latency else formats.DASH,
        "tokens": formats.DASH if cost.tokens is None else str(cost.tokens),
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


def fractions_grid(setting: Setting, encoders: list[str]) -> Grid:
    """mIoU of every encoder at every fraction."""
    columns = []
    for fraction in setting.fractions:
        groups = [setting.group(encoder, fraction) for encoder in encoders]
        columns.append(_cells([group.score if group else Summary(0) for group in groups]))
    rows = [
        (encoder, [column[position] for column in columns])
        for position, encoder in enumerate(encoders)
    ]
    return Grid([formats.fraction(fraction) for fraction in setting.fractions], rows)


def pretraining_grid(setting: Setting) -> Grid:
    """Loaded minus random weights of every architecture that has both, at every fraction; no mark for the largest."""
    found = {
        share: {pair.first.encoder: pair for pair in pretraining(setting, share)}
        for share in setting.fractions
    }
    shares = [share for share in setting.fractions if found[share]]
    encoders = list(
        dict.fromkeys(encoder for share in reversed(shares) for encoder in found[share])
    )
    rows = []
    for encoder in encoders:
        pairs = [found[share].get(encoder) for share in shares]
        rows.append(
            (
                encoder,
                [
                    GridCell(_added(pair.difference.over) if pair else formats.DASH, False)
                    for pair in pairs
                ],
            )
        )
    return Grid([formats.fraction(share) for share in shares], rows)


def _added(over: Summary) -> str:
    """``+20.1 (range +19.7 to +20.4, n=2)``."""
    bounds = (
        f"{formats.points(over.low or 0.0)} to {formats.points(over.high or 0.0)}, "
        if over.spread
        else ""
    )
    named = "range " if over.spread == "range" else ""
    return f"{formats.points(over.mean or 0.0)} ({named}{bounds}n={over.n})"


def classes_grid(setting: Setting, encoders: list[str]) -> Grid:
    """IoU of every class that is shown for every encoder at the reference fraction."""
    return Grid(
        encoders,
        [(name, _across(setting, encoders, iou_of(name))) for name in setting.shown_classes],
    )


MISTAKES = 12
"""Most confusions that are listed."""

QUALITY = (
    ("mIoU (classes in the truth)", "miou"),
    ("mIoU (classes in truth or prediction)", "miou_union"),
    ("mIoU (all classes, absent ones 0)", "miou_all"),
    ("mean class accuracy", "mean_class_accuracy"),
    ("pixel accuracy", "pixel_accuracy"),
    ("frequency-weighted IoU", "frequency_weighted_iou"),
)


def quality_grid(setting: Setting, encoders: list[str]) -> Grid:
    """Every quality measure for every encoder at the reference fraction."""
    return Grid(
        encoders, [(label, _across(setting, encoders, _metric(name))) for label, name in QUALITY]
    )


def _metric(name: str) -> Reading:
    return lambda run: getattr(run.metrics, name) if run.metrics else None


def mistakes(setting: Setting, encoders: list[str]) -> Grid:
    """The most frequent confusions of classes at the reference fraction: share of the true class's pixels.

    True classes are those that are shown; of very many, each rare one is somewhere taken for another altogether.
    """
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    found = [
        row_shares(group) if group and any(run.confusion_matrix for run in group.runs) else None
        for group in groups
    ]
    known = [np.nan_to_num(shares) for shares in found if shares is not None]
    if not known or len(setting.classes) < 2:
        return Grid(encoders, [])
    most = np.max(known, axis=0) * (1 - np.eye(len(setting.classes)))
    if len(setting.shown_classes) < len(setting.classes):
        most[setting.by_pixels[len(setting.shown_classes) :]] = 0
    cells = [
        int(cell)
        for cell in np.argsort(-most, axis=None, kind="stable")[:MISTAKES]
        if most.flat[cell] >= 0.0005
    ]
    order = [divmod(cell, len(setting.classes)) for cell in cells]
    rows = []
    for truth, guess in order:
        texts = [
            formats.DASH if shares is None else f"{100 * shares[truth, guess]:.1f}"
            for shares in found
        ]
        name = f"{setting.classes[truth]} taken for {setting.classes[guess]}"
        rows.append((name, [GridCell(text, False) for text in texts]))
    return Grid(encoders, rows)


def _across(setting: Setting, encoders: list[str], read: Reading) -> list[GridCell]:
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    return _cells([group.summary(read) if group else Summary(0) for group in groups])


def _cells(summaries: list[Summary]) -> list[GridCell]:
    """Texts in percent; the highest mean is marked where others print as less."""
    means = [None if summary.mean is None else round(summary.mean, 3) for summary in summaries]
    known = [mean for mean in means if mean is not None]
    best = max(known) if known and max(known) > min(known) else None
    texts = [summary.text(with_n=False) for summary in summaries]
    return [
        GridCell(text, best is not None and mean == best)
        for text, mean in zip(texts, means, strict=True)
    ]


def convergence_rows(setting: Setting, encoders: list[str]) -> list[list[str]]:
    """Encoder, fraction, steps and epochs to 95 % of the best validation mIoU, best step, epochs in all."""
    rows = []
    for fraction in reversed(setting.fractions):
        for encoder in encoders:
            group = setting.group(encoder, fraction)
            if group and any(run.convergence for run in group.runs):
                rows.append([encoder, formats.fraction(fraction), *_convergence(group)])
    return rows


def _convergence(group: RunGroup) -> list[str]:
    digits = {"step_to_95_percent": 0, "epochs_to_95_percent": 1, "best_step": 0, "epochs": 1}
    return [
        group.summary(_converged(name)).text(scale=1, digits=count, with_n=False)
        for name, count in digits.items()
    ] + [str(len(group.runs))]


def _converged(name: str) -> Callable[[RunRecord], float | None]:
    return lambda run: getattr(run.convergence, name) if run.convergence else None


def flops_by_part(setting: Setting, encoders: list[str]) -> Grid:
    """GFLOPs of every part of the model."""
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    costs = [
        next((run.cost for run in group.runs if run.cost), None) if group else None
        for group in groups
    ]
    parts = list(dict.fromkeys(part for cost in costs if cost for part in cost.flops_by_part))
    rows = [
        (
            part,
            [
                GridCell(
                    formats.giga(cost.flops_by_part.get(part)) if cost else formats.DASH, False
                )
                for cost in costs
            ],
        )
        for part in parts
    ]
    return Grid(encoders, rows)


def cost_rows(setting: Setting, encoders: list[str]) -> list[tuple[str, dict[str, str]]]:
    groups = [(encoder, setting.group(encoder, setting.reference)) for encoder in encoders]
    return [(encoder, cost_texts(cost_of(group.runs))) for encoder, group in groups if group]


def input_size(setting: Setting) -> str:
    """Height×width at which costs were measured at the reference fraction."""
    sizes = {
        run.cost.input_size
        for group in setting.at(setting.reference)
        for run in group.runs
        if run.cost
    }
    return formats.listing([f"{height}×{width}" for height, width in sorted(sizes)])
