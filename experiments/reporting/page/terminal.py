"""The ranking and the score of every seed, as tables for the terminal."""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting, best_first
from encoder_ablations.experiments.reporting.findings.published_scores import (
    Cited,
    citations,
    sources,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.metrics_record import TaskMetrics
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.utils.texts import as_cell

MEASURES: dict[Task, dict[str, str]] = {
    "segmentation": {
        "miou": "mIoU",
        "mean_class_accuracy": "mean acc.",
        "pixel_accuracy": "pixel acc.",
    },
    "classification": {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced",
        "macro_f1": "macro F1",
    },
}
"""Measures in the table of seeds, in percent; JSON and CSV have all."""
ALIGNMENT = "<>><<><"
"""Of the columns of the ranking: numbers are aligned to the right."""


def terminal_ranking(groups: Iterable[RunGroup]) -> str:
    """Return encoder, fraction, score, spread and seeds in aligned columns, best first.

    Every setting has a block of lines. Published scores follow those of the study.
    """
    blocks = groupby(groups, attrgetter("setting"))
    return "\n\n".join(_block(title, list(members)) for title, members in blocks)


def _block(title: str, groups: list[RunGroup]) -> str:
    groups = sorted(groups, key=best_first)
    cited = citations(groups)
    score = f"{groups[0].metric.label} %"
    header = ["encoder", "images", score, "spread", "n", "published %", "difference"]
    rows = [header, *(_row(group, cited.get(group)) for group in groups)]
    # published scores have no column where there are none
    columns = list(zip(*rows, strict=True))
    if not cited:
        columns = columns[:-2]
    aligned = map(_aligned, columns, ALIGNMENT)
    lines = [f"  {'  '.join(cells)}".rstrip() for cells in zip(*aligned, strict=True)]
    notes = [f"  [{note}] {text}" for note, text in enumerate(sources(cited.values()), start=1)]
    return "\n".join([title, *lines, *notes])


def _row(group: RunGroup, cited: Cited | None) -> list[str]:
    mean, _, spread = group.score.text().partition(" ")
    seeds = str(group.score.n)
    if group.failed:
        seeds += f" ({len(group.failed)} failed)"
    published = ["", ""]
    if cited is not None:
        published = [f"{cited.score} [{cited.note}]", cited.behind]
    share = formats.fraction(group.fraction)
    return [group.encoder, share, mean, spread.strip("()"), seeds, *published]


def _aligned(cells: tuple[str, ...], side: str) -> list[str]:
    """Return the cells of a column in one width, aligned to ``<`` left or ``>`` right."""
    width = max(map(len, cells))
    return [f"{cell:{side}{width}}" for cell in cells]


def seeds_table(study: Study) -> str:
    """Return a line for every run, failed ones included, in a block for every setting."""
    width = max(len("encoder"), *(len(group.encoder) for group in study.groups))
    heads = "  ".join(f"{text:>10}" for text in MEASURES[study.task].values())
    lines = []
    for setting in study.settings:
        lines += [setting.title, f"  {'encoder':<{width}}  images  seed  {heads}"]
        lines += _seed_lines(setting, width)
    return "\n".join(lines)


def _seed_lines(setting: Setting, width: int) -> list[str]:
    lines = []
    for group in sorted(setting.groups, key=lambda group: (-group.fraction, group.encoder)):
        start = f"  {group.encoder:<{width}}  {formats.fraction(group.fraction):>6}"
        runs = sorted(group.records, key=lambda run: run.spec.seed)
        lines += [f"{start}  {run.spec.seed:>4}  {_result(run)}" for run in runs]
    return lines


def _result(run: RunRecord) -> str:
    if run.metrics is not None:
        return _measures(run.metrics, MEASURES[run.task])
    lines = run.error.message.splitlines() if run.error else []
    return f"failed: {as_cell([*lines, 'no reason given'][0])}"


def _measures(metrics: TaskMetrics, names: Iterable[str]) -> str:
    values = [getattr(metrics, name) for name in names]
    texts = [formats.DASH if value is None else f"{100 * value:.2f}" for value in values]
    return "  ".join(f"{text:>10}" for text in texts)
