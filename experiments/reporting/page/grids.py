"""Tables of encoders by fractions, classes, measures and parts, for the page."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan
from operator import attrgetter

import numpy as np

from encoder_ablations.experiments.reporting.figures.confusion import row_shares
from encoder_ablations.experiments.reporting.findings.groups import Reading, Setting, class_score
from encoder_ablations.experiments.reporting.findings.ranking import Comparison, pretraining
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import Summary

MISTAKES = 12
"""Most confusions that are listed."""
PRINTED = 0.0005
"""Smallest share that does not print as 0.0 %."""
QUALITY: dict[str, dict[str, str]] = {
    "miou": {
        "mIoU (classes in the truth)": "miou",
        "mIoU (classes in truth or prediction)": "miou_union",
        "mIoU (all classes, absent ones 0)": "miou_all",
        "mean class accuracy": "mean_class_accuracy",
        "pixel accuracy": "pixel_accuracy",
        "frequency-weighted IoU": "frequency_weighted_iou",
    },
    "accuracy": {
        "accuracy": "accuracy",
        "balanced accuracy": "balanced_accuracy",
        "macro F1": "macro_f1",
    },
}
"""Main metric -> names of the measures, and their names in a record."""


@dataclass(frozen=True)
class GridCell:
    """Text of a cell, and whether it is marked as the best."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """Named rows over named columns; the highest mean among the compared cells is marked."""

    columns: list[str]
    rows: Sequence[tuple[str, Sequence[GridCell]]]


def fractions_grid(setting: Setting, encoders: list[str]) -> Grid:
    """Return the score of every encoder at every fraction; the best of each fraction is marked."""
    columns = []
    for fraction in setting.fractions:
        groups = [setting.group(encoder, fraction) for encoder in encoders]
        columns.append(_cells([group.score for group in groups]))
    rows = zip(encoders, zip(*columns, strict=True), strict=True)
    return Grid(list(map(formats.fraction, setting.fractions)), list(rows))


def pretraining_grid(setting: Setting) -> Grid:
    """Return loaded minus random weights of every network that has both, at every fraction."""
    gains: dict[str, dict[float, str]] = defaultdict(dict)
    # the order of the largest share comes first
    for share in reversed(setting.fractions):
        for pair in pretraining(setting, share):
            gains[pair.first.encoder][share] = _added(pair)
    shares = sorted(set().union(*gains.values()))
    rows = []
    for encoder, found in gains.items():
        texts = [found.get(share, formats.DASH) for share in shares]
        rows.append((encoder, list(map(GridCell, texts))))
    return Grid(list(map(formats.fraction, shares)), rows)


def _added(pair: Comparison) -> str:
    """Return ``+20.1 (range +19.7 to +20.4, n=2)``."""
    over = pair.difference.over
    inside = f"n={over.n}"
    if over.spread:
        kind = over.spread.replace("95 % interval", "")
        bounds = f"{kind} {formats.interval(over.low, over.high)}".lstrip()
        inside = f"{bounds}, {inside}"
    return f"{formats.points(over.mean)} ({inside})"


def classes_grid(setting: Setting, encoders: list[str]) -> Grid:
    """Return the IoU or the recall of every shown class for every encoder.

    It is that at the reference fraction.
    """
    rows = [(name, _across(setting, encoders, class_score(name))) for name in setting.shown_classes]
    return Grid(encoders, rows)


def quality_grid(setting: Setting, encoders: list[str]) -> Grid:
    """Return every quality measure for every encoder at the reference fraction."""
    rows = []
    for label, name in QUALITY[setting.metric.key].items():
        rows.append((label, _across(setting, encoders, attrgetter(f"metrics.{name}"))))
    return Grid(encoders, rows)


def mistakes(setting: Setting, encoders: list[str]) -> Grid:
    """Return the most frequent confusions of classes, as shares of the true class.

    With very many classes, only true classes that are shown count: among the others, some encoder
    takes nearly every rare class for another one.

    Args:
        setting: whose runs at the reference fraction are meant.
        encoders: those with runs there.
    """
    if not encoders:
        return Grid([], [])
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    shares = np.array([row_shares(group) for group in groups])
    # the largest share over encoders; right answers and hidden classes do not count
    most = np.nan_to_num(shares).max(axis=0)
    np.fill_diagonal(most, 0)
    most[setting.by_pixels[len(setting.shown_classes) :]] = 0
    largest = np.argsort(-most, axis=None, kind="stable")[:MISTAKES]
    printed = largest[most.ravel()[largest] >= PRINTED]
    rows = []
    for truth, guess in zip(*np.unravel_index(printed, most.shape), strict=True):
        texts = [f"{100 * share:.1f}" for share in shares[:, truth, guess]]
        name = f"{setting.classes[truth]} taken for {setting.classes[guess]}"
        rows.append((name, list(map(GridCell, texts))))
    return Grid(encoders, rows)


def _across(setting: Setting, encoders: list[str], read: Reading) -> list[GridCell]:
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    return _cells([group.summary(read) for group in groups])


def _cells(summaries: list[Summary]) -> list[GridCell]:
    """Return texts in percent; the highest mean is marked where others print as less."""
    # as they print
    means = np.array([round(summary.mean, 3) for summary in summaries])
    known = np.unique(means[~np.isnan(means)])
    best = nan
    # where all print the same, nothing is marked: no mean equals NaN
    if len(known) > 1:
        best = known[-1]
    texts = [summary.text() for summary in summaries]
    return list(map(GridCell, texts, (means == best).tolist()))


def flops_by_part(setting: Setting, encoders: list[str]) -> Grid:
    """Return the GFLOPs of every part of the model, from each encoder's first run."""
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    found = [group.runs[0].cost.flops_by_part for group in groups]
    rows = []
    for part in dict.fromkeys(chain.from_iterable(found)):
        texts = [formats.giga(flops.get(part, nan)) for flops in found]
        rows.append((part, list(map(GridCell, texts))))
    return Grid(encoders, rows)
