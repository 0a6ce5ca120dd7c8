"""The training time that a study still needs, from what its finished runs took."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.studies.kinds import kind_of
from encoder_ablations.experiments.workers.progress import read_progress

Speeds = dict[str, float]


def measured_speeds(runs: Sequence[PlannedRun]) -> Speeds:
    """Return the median training seconds per step of the finished runs, by what decides them."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.record is None or run.record.cost is None or run.record.convergence is None:
            continue
        # a training that ended early took fewer steps than its recipe says
        speed = run.record.cost.train_seconds / run.record.convergence.steps
        found[kind_of(run.spec)].append(speed)
    return {kind: statistics.median(seconds) for kind, seconds in found.items()}


def steps_left(run: PlannedRun) -> int:
    """Return the steps still to train, as far as the run's progress file tells."""
    progress = None
    if run.state == "interrupted":
        progress = read_progress(run.folder, run.spec.run_id)
    if progress is None:
        return run.spec.steps
    return run.spec.steps - progress.step


def seconds_left(run: PlannedRun, speeds: Speeds) -> float | None:
    """Return the training time that an unfinished run still needs; None if no like run tells."""
    if not run.spec.steps:
        return 0.0
    speed = speeds.get(kind_of(run.spec))
    if speed is None:
        return None
    return speed * steps_left(run)
