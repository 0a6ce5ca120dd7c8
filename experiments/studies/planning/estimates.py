"""What the runs of a study will take, from a plan and from finished runs, and what they took."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.kinds import kind_key
from encoder_ablations.experiments.studies.planning.measured import SavedPlan

Length = tuple[str, int, int, float, bool]
"""What decides how long a run takes: its kind, its steps, their evaluations, its fraction, and
whether it is a trial, which is not tested.
"""


@dataclass(frozen=True)
class Known:
    """What is known of a study's runs before they begin.

    Attributes:
        plan: what was measured; None if nothing was.
        took: seconds of finished runs, by what decides them.
    """

    plan: SavedPlan | None = None
    took: dict[Length, float] = field(default_factory=dict)

    def seconds(self, spec: RunSpec) -> float | None:
        """Return what a run takes: as finished runs like it, else as planned; None if unknown."""
        took = self.took.get(_length(spec))
        if took is not None:
            return took
        return self.planned(spec)

    def planned(self, spec: RunSpec) -> float | None:
        """Return what a run takes by the measurement alone; None if its kind was not measured."""
        measured = self.plan and self.plan.of(spec)
        if not measured:
            return None
        return measured.seconds(spec)


def known_of(runs: Sequence[PlannedRun], plan: SavedPlan | None) -> Known:
    """Return what a plan and the finished ones among the runs tell."""
    found: defaultdict[Length, list[float]] = defaultdict(list)
    for run in runs:
        seconds = seconds_taken(run.record)
        if seconds is not None:
            found[_length(run.spec)].append(seconds)
    took = {length: statistics.median(listed) for length, listed in found.items()}
    return Known(plan, took)


def _length(spec: RunSpec) -> Length:
    recipe = spec.recipe
    return kind_key(spec), recipe.steps, recipe.evaluate_every, spec.fraction, spec.is_trial


def seconds_taken(record: RunRecord | None) -> float | None:
    """Return the seconds from a finished run's start to its record; None without one."""
    if record is None or record.status != "finished":
        return None
    began, ended = map(datetime.fromisoformat, (record.started, record.finished))
    return (ended - began).total_seconds()


@dataclass(frozen=True)
class PlanError:
    """How well a plan has foreseen the runs that finished.

    Attributes:
        runs: how many.
        planned: their seconds by the plan.
        took: their seconds.
    """

    runs: int
    planned: float
    took: float

    @property
    def error(self) -> float:
        """Return planned minus taken time, as a share of the latter."""
        return self.planned / max(self.took, 1.0) - 1


def plan_error(records: Sequence[RunRecord], plan: SavedPlan | None) -> PlanError | None:
    """Return how well the plan has foreseen what finished; None if it foresaw none of it.

    Runs that were resumed count the time after their last start only, so that they are left out
    where training alone took longer.
    """
    if plan is None:
        return None
    pairs = []
    for record in records:
        took = seconds_taken(record)
        planned = plan.seconds.get(record.run_id)
        if took is not None and planned is not None and not _was_resumed(record, took):
            pairs.append((planned, took))
    if not pairs:
        return None
    planned_seconds, taken = map(sum, zip(*pairs, strict=True))
    return PlanError(len(pairs), planned_seconds, taken)


def _was_resumed(record: RunRecord, took: float) -> bool:
    return record.cost is not None and record.cost.train_seconds > took + 1
