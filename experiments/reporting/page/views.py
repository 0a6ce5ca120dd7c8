"""The page's tables, as plain values for the template."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from encoder_ablations.experiments.reporting.figures.confusion import row_shares
from encoder_ablations.experiments.reporting.findings.groups import (
    Reading,
    RunGroup,
    Setting,
    class_iou,
)
from encoder_ablations.experiments.reporting.findings.image_intervals import Interval, Resampling
from encoder_ablations.experiments.reporting.findings.published_scores import Cited, citations
from encoder_ablations.experiments.reporting.findings.ranking import (
    Cost,
    Standing,
    comparisons,
    cost_of,
    find_pair,
    pretraining,
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


@dataclass(frozen=True)
class GridCell:
    """Text of a cell, and whether it is marked as the best."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """Named rows over named columns; the highest mean among the compared cells is marked."""

    columns: list[str]
    rows: list[tuple[str, list[GridCell]]]


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


def fractions_grid(setting: Setting, encoders: list[str]) -> Grid:
    """Return the mIoU of every encoder at every fraction; the best of each fraction is marked."""
    columns = []
    for fraction in setting.fractions:
        groups = [setting.group(encoder, fraction) for encoder in encoders]
        columns.append(_cells([group.score if group else Summary(0) for group in groups]))
    lines = map(list, zip(*columns, strict=True))
    shares = [formats.fraction(fraction) for fraction in setting.fractions]
    return Grid(shares, list(zip(encoders, lines, strict=True)))


def pretraining_grid(setting: Setting) -> Grid:
    """Return loaded minus random weights of every network that has both, at every fraction."""
    found = {share: pretraining(setting, share) for share in setting.fractions}
    shares = [share for share in setting.fractions if found[share]]
    # the order of the largest share comes first
    pairs = [pair for share in reversed(shares) for pair in found[share]]
    rows = []
    for encoder in dict.fromkeys(pair.first.encoder for pair in pairs):
        cells = []
        for share in shares:
            own = [_added(p.difference.over) for p in found[share] if p.first.encoder == encoder]
            cells.append(GridCell(own[0] if own else formats.DASH))
        rows.append((encoder, cells))
    return Grid([formats.fraction(share) for share in shares], rows)


def _added(over: Summary) -> str:
    """Return ``+20.1 (range +19.7 to +20.4, n=2)``."""
    n = f"n={over.n}"
    mean = formats.points(over.mean or 0.0)
    if not over.spread:
        return f"{mean} ({n})"
    bounds = f"{formats.points(over.low or 0.0)} to {formats.points(over.high or 0.0)}"
    if over.spread == "range":
        bounds = f"range {bounds}"
    return f"{mean} ({bounds}, {n})"


def classes_grid(setting: Setting, encoders: list[str]) -> Grid:
    """Return the IoU of every shown class for every encoder at the reference fraction."""
    rows = [(name, _across(setting, encoders, class_iou(name))) for name in setting.shown_classes]
    return Grid(encoders, rows)


MISTAKES = 12
"""Most confusions that are listed."""
PRINTED = 0.0005
"""Smallest share that does not print as 0.0 %."""

QUALITY = (
    ("mIoU (classes in the truth)", "miou"),
    ("mIoU (classes in truth or prediction)", "miou_union"),
    ("mIoU (all classes, absent ones 0)", "miou_all"),
    ("mean class accuracy", "mean_class_accuracy"),
    ("pixel accuracy", "pixel_accuracy"),
    ("frequency-weighted IoU", "frequency_weighted_iou"),
)


def quality_grid(setting: Setting, encoders: list[str]) -> Grid:
    """Return every quality measure for every encoder at the reference fraction."""
    rows = [(label, _across(setting, encoders, _metric(name))) for label, name in QUALITY]
    return Grid(encoders, rows)


def _metric(name: str) -> Reading:
    return lambda run: getattr(run.metrics, name) if run.metrics else None


def mistakes(setting: Setting, encoders: list[str]) -> Grid:
    """Return the most frequent confusions of classes, as shares of the true class's pixels.

    With very many classes, only true classes that are shown count: among the others, some encoder
    takes nearly every rare class for another one.
    """
    found = []
    for encoder in encoders:
        group = setting.group(encoder, setting.reference)
        found.append(row_shares(group) if group and group.confusion_matrices else None)
    known = [np.nan_to_num(shares) for shares in found if shares is not None]
    if not known:
        return Grid(encoders, [])
    # the largest share over encoders; right answers and hidden classes do not count
    most = np.max(known, axis=0)
    np.fill_diagonal(most, 0)
    most[setting.by_pixels[len(setting.shown_classes) :]] = 0
    rows = []
    for cell in np.argsort(-most, axis=None, kind="stable")[:MISTAKES]:
        truth, guess = divmod(int(cell), len(setting.classes))
        if most[truth, guess] >= PRINTED:
            texts = [_share(shares, truth, guess) for shares in found]
            name = f"{setting.classes[truth]} taken for {setting.classes[guess]}"
            rows.append((name, [GridCell(text) for text in texts]))
    return Grid(encoders, rows)


def _share(shares: np.ndarray | None, truth: int, guess: int) -> str:
    return formats.DASH if shares is None else f"{100 * shares[truth, guess]:.1f}"


def _across(setting: Setting, encoders: list[str], read: Reading) -> list[GridCell]:
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    return _cells([group.summary(read) if group else Summary(0) for group in groups])


def _cells(summaries: list[Summary]) -> list[GridCell]:
    """Return texts in percent; the highest mean is marked where others print as less."""
    means = [None if summary.mean is None else round(summary.mean, 3) for summary in summaries]
    known = {mean for mean in means if mean is not None}
    best = max(known) if len(known) > 1 else None
    cells = []
    for summary, mean in zip(summaries, means, strict=True):
        marked = best is not None and mean == best
        cells.append(GridCell(summary.text(with_n=False), marked))
    return cells


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


def flops_by_part(setting: Setting, encoders: list[str]) -> Grid:
    """Return the GFLOPs of every part of the model."""
    found = [_parts(setting.group(encoder, setting.reference)) for encoder in encoders]
    rows = []
    for part in dict.fromkeys(part for flops in found for part in flops):
        rows.append((part, [GridCell(formats.giga(flops.get(part))) for flops in found]))
    return Grid(encoders, rows)


def _parts(group: RunGroup | None) -> dict[str, int]:
    """Return part -> FLOPs, from the first run of the group that measured it."""
    costs = [run.cost for run in group.runs if run.cost] if group else []
    return costs[0].flops_by_part if costs else {}


def cost_rows(setting: Setting, encoders: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Return every encoder's texts of cost at the reference fraction."""
    groups = [(encoder, setting.group(encoder, setting.reference)) for encoder in encoders]
    return [(encoder, cost_texts(cost_of(group.runs))) for encoder, group in groups if group]


def input_size(setting: Setting) -> str:
    """Return height×width at which costs were measured at the reference fraction."""
    runs = [run for group in setting.at(setting.reference) for run in group.runs]
    return formats.listing(image_sizes(runs))
