"""Tables of encoders by fractions, classes, measures and parts, for the page."""

from dataclasses import dataclass

import numpy as np

from encoder_ablations.experiments.reporting.figures.confusion import row_shares
from encoder_ablations.experiments.reporting.findings.groups import (
    Reading,
    RunGroup,
    Setting,
    class_iou,
)
from encoder_ablations.experiments.reporting.findings.ranking import (
    pretraining,
)
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import Summary


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
