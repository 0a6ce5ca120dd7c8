"""The table and the estimate that ``ablate run --dry-run`` and ``ablate status`` print."""

from collections import Counter
from collections.abc import Sequence

from encoder_ablations.experiments.runs.federated.arms import CENTRAL
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.studies.grid import NO_TEACHER, coordinates
from encoder_ablations.experiments.studies.time_left import (
    Speeds,
    measured_speeds,
    seconds_left,
    steps_left,
)
from encoder_ablations.experiments.workers.locks import is_held
from encoder_ablations.utils.texts import duration, plural

ORDER = ("finished", "failed", "running", "interrupted", "not begun", "unreadable")
AXES = ("encoder", "segmenter", "dataset", "images", "seed")
PLACE = (*AXES, "federation", "pseudo-labels", "tuning")
"""Columns that say which run it is."""
COLUMNS = ("state", *PLACE, "training left")
UNTUNED = "none"
OPTIONAL = {"federation": CENTRAL, "pseudo-labels": NO_TEACHER, "tuning": UNTUNED}
"""Columns that are left out where every run has this value."""


class Standing:
    """A study's runs as they stand now, on disk and by their locks.

    Args:
        runs: those that are known.
        expected: those that will follow from their results, see ``Located``.
    """

    def __init__(self, runs: Sequence[PlannedRun], expected: Sequence[PlannedRun] = ()) -> None:
        self.runs = list(runs)
        self.expected = list(expected)
        self.states = [_state(run) for run in runs]
        self.speeds = measured_speeds(runs)

    def of(self, *states: str) -> list[PlannedRun]:
        """Return the runs in any of these states."""
        return [run for run, state in zip(self.runs, self.states, strict=True) if state in states]

    def has_ended(self, following: Sequence[str]) -> bool:
        """Return whether every run has ended, and none follows from the results.

        Args:
            following: what may follow, see ``Located``.
        """
        return not following and not self.of("running", "interrupted", "not begun")

    def counts(self) -> str:
        """``8 runs: 3 finished, 1 failed, 4 not begun``, and how many will follow."""
        counts = Counter(self.states)
        parts = [f"{counts[state]} {state}" for state in ORDER if counts[state]]
        if self.expected:
            parts.append(f"{len(self.expected)} to follow from their results")
        return f"{plural(len(self.runs) + len(self.expected), 'run')}: {', '.join(parts)}"

    def table(self) -> str:
        """Return a line for every run, below a header."""
        return laid_out([COLUMNS, *map(self._row, self.runs, self.states)])

    def _row(self, run: PlannedRun, state: str) -> tuple[str, ...]:
        left = ""
        if state not in ("finished", "failed", "unreadable"):
            left = in_words(seconds_left(run, self.speeds))
        return (state, *place(run), left)

    def estimate(self, retry_failed: bool = False) -> str:
        """Say what is to be done, and how long that takes as far as finished runs tell."""
        todo = self.of("not begun", "interrupted", "running")
        if retry_failed:
            todo += self.of("failed")
        todo += self.expected
        if not todo:
            return "nothing to do"
        steps = sum(steps_left(run) for run in todo)
        work = f"{plural(len(todo), 'run')}, {plural(steps, 'step')}"
        return f"to do: {work}; {training_left(todo, self.speeds)}"


def place(run: PlannedRun) -> tuple[str, ...]:
    """Return which run it is, by the columns of :data:`PLACE`."""
    where = coordinates(run.spec) | {"fraction": f"{run.spec.fraction:.4g}", "tuning": UNTUNED}
    if run.spec.tuning is not None:
        where["tuning"] = run.spec.tuning.title
    return tuple(map(str, where.values()))


def laid_out(rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table as text, without columns in which every run has the usual value.

    Args:
        rows: the header with :data:`PLACE`, and a row for every run.
    """
    for name, usual in OPTIONAL.items():
        position = rows[0].index(name)
        if all(row[position] == usual for row in rows[1:]):
            rows = [(*row[:position], *row[position + 1 :]) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)) for row in rows]
    return "\n".join(map(str.rstrip, lines))


def training_left(runs: Sequence[PlannedRun], speeds: Speeds) -> str:
    """Return the runs' training time one after the other, in words; nothing is guessed."""
    needed = [seconds_left(run, speeds) for run in runs]
    known = [seconds for seconds in needed if seconds is not None]
    unknown = len(runs) - len(known)
    if not known:
        return f"time unknown: no run like {_pronoun(unknown)} has finished yet"
    rest = ""
    if unknown:
        like = f"nothing like {_pronoun(unknown)} has finished"
        rest = f", and unknown for {plural(unknown, 'run')} ({like})"
    return (
        f"about {duration(sum(known))} of training one after the other{rest} "
        "(by the seconds per step of this study's finished runs; evaluation comes on top)"
    )


def _pronoun(count: int) -> str:
    if count == 1:
        return "it"
    return "them"


def in_words(seconds: float | None) -> str:
    """Return a duration, or "unknown"."""
    if seconds is None:
        return "unknown"
    return duration(seconds)


def _state(run: PlannedRun) -> str:
    """Return how far a run is; "running" where a process holds its lock."""
    if run.state != "finished" and is_held(run.folder):
        return "running"
    return run.state
