"""The table of ``ablate status --watch``: every run, those that run now first."""

from collections import Counter
from collections.abc import Sequence

from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.studies.plan_table import PLACE, Standing, laid_out, place
from encoder_ablations.experiments.workers.progress import read_progress
from encoder_ablations.utils.texts import duration

COLUMNS = ("state", *PLACE, "progress", "left")
ORDER = ("running", "failed", "unreadable", "interrupted", "finished", "not begun")


SAME = ("segmenter", "dataset", "images")
"""Columns that a narrow terminal does without where all runs agree, in this order."""
SHORTENED = ("tuning", "encoder", "pseudo-labels", "federation", "progress")
"""Columns whose texts are cut where that is not enough, in this order."""
LEAST = 12
"""Characters that are left of them."""


def live_table(standing: Standing, height: int, width: int) -> list[str]:
    """Return the lines of the table.

    Args:
        standing: the runs of a study.
        height: how many lines there may be; runs that do not fit are counted in the last one.
        width: characters of a line.
    """
    runs = [(state, run) for state in ORDER for run in standing.of(state)]
    room = max(1, height - 1)
    if len(runs) > room:
        room = max(1, room - 1)
    shown, others = runs[:room], runs[room:]
    lines = _fitted([COLUMNS, *(_row(state, run) for state, run in shown)], width).splitlines()
    if others:
        lines.append(f"… and {_counted([state for state, _ in others])}")
    return lines


def _fitted(rows: list[tuple[str, ...]], width: int) -> str:
    """Return a table as text, with lines of ``width`` characters if that is possible."""
    for name in SAME:
        if _excess(rows, width):
            rows = _without_same(rows, name)
    for name in SHORTENED:
        excess = _excess(rows, width)
        if excess:
            rows = _shortened(rows, name, excess)
    return laid_out(rows)


def _excess(rows: list[tuple[str, ...]], width: int) -> int:
    """Return by how many characters the longest line of a table is too long."""
    return max(0, max(map(len, laid_out(rows).splitlines())) - width)


def _without_same(rows: list[tuple[str, ...]], name: str) -> list[tuple[str, ...]]:
    """Return a table without a column, if all runs have the same value in it."""
    place = rows[0].index(name)
    if len({row[place] for row in rows[1:]}) > 1:
        return rows
    return [(*row[:place], *row[place + 1 :]) for row in rows]


def _shortened(rows: list[tuple[str, ...]], name: str, excess: int) -> list[tuple[str, ...]]:
    """Return a table in which a column is narrower by ``excess``, or as narrow as it may be."""
    place = rows[0].index(name)
    most = max(LEAST, max(len(row[place]) for row in rows) - excess)
    return [(*row[:place], _cut(row[place], most), *row[place + 1 :]) for row in rows]


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most - 1]}…"


def _counted(states: Sequence[str]) -> str:
    return ", ".join(f"{count} {state}" for state, count in Counter(states).items())


def _row(state: str, run: PlannedRun) -> tuple[str, ...]:
    done, left = "", ""
    if state == "running":
        done, left = _running(run)
    elif run.record is not None:
        done = _result(run)
    return (state, *place(run), done, left)


def _running(run: PlannedRun) -> tuple[str, str]:
    """Return how far a running run is, and how long it still takes, both in words."""
    progress = read_progress(run.folder, run.spec.run_id)
    if progress is None:
        return "starting", ""
    if not progress.steps:
        return progress.status, ""
    done = f"{progress.step}/{progress.steps} {progress.status}"
    if progress.seconds_per_step is None:
        return done, ""
    return done, duration((progress.steps - progress.step) * progress.seconds_per_step)


def _result(run: PlannedRun) -> str:
    """Return the score of a finished run, or why a failed one failed."""
    assert run.record is not None
    if run.record.error is not None:
        return run.record.error.line
    assert run.record.metrics is not None  # of a finished run
    score = run.record.metrics.main
    if score is None:
        return "no labels"
    return f"{100 * score:.1f} {MAIN_METRICS[run.record.task].label}"
