"""The training time that a study still needs, from what its finished runs took."""

import statistics
from collections.abc import Sequence

from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.workers.progress import read_progress

Speeds = dict[str, float]


def measured_speeds(runs: Sequence[PlannedRun]) -> Speeds:
    """Return the median training seconds per step of the finished runs, by what decides them."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.record is not None and run.record.cost is not None:
            found.setdefault(_kind(run.spec), []).append(
                run.record.cost.train_seconds / run.spec.recipe.steps
            )
    return {kind: statistics.median(seconds) for kind, seconds in found.items()}


def steps_left(run: PlannedRun) -> int:
    """Return the steps still to train, as far as the run's progress file tells."""
    progress = read_progress(run.folder, run.spec.run_id) if run.state == "interrupted" else None
    return run.spec.recipe.steps - (progress.step if progress else 0)


def seconds_left(run: PlannedRun, speeds: Speeds) -> float | None:
    """Return the training time that an unfinished run still needs; None if no like run tells."""
    speed = speeds.get(_kind(run.spec))
    return None if speed is None else speed * steps_left(run)


def _kind(spec: RunSpec) -> str:
    recipe = {"batch_size", "accumulation", "precision", "augmentation"}
    return spec.model_dump_json(
        include={"encoder": True, "segmenter": True, "dataset": {"name"}, "recipe": recipe}
    )
