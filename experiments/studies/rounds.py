"""Runs that depend on the results of others: which ones are known, round by round.

A round is: find the runs that are known, compute them, and look again. The last round finds nothing
new. Nothing is kept between rounds but the records of the runs, so a killed study goes on where it
was, and several processes find the same runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.experiments.runs.planned_run import PlannedRun, locate
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.known import Known, Records
from encoder_ablations.experiments.studies.located import Located
from encoder_ablations.experiments.studies.seed_rounds import add_seeds, has_rule
from encoder_ablations.experiments.studies.study import Entry, StudySpec, plan
from encoder_ablations.experiments.studies.tuning.stage import tunes, with_tuning
from encoder_ablations.experiments.zero_labels.queries import load_with_vocabulary
from encoder_ablations.segmenters.spec import SegmenterSpec


@dataclass(frozen=True)
class Stage:
    """A part of a study that makes runs of the results of other runs.

    Attributes:
        key: the key of the study that asks for it, for messages.
        applies: whether a study asks for it.
        extend: returns what is known after this stage, from the study, what was known before it,
            and the records. It depends on nothing else, and a run that is known stays known when
            more records come. So every process that reads the same folder finds the same runs.
    """

    key: str
    applies: Callable[[StudySpec], bool]
    extend: Callable[[StudySpec, Known, Records], Known]


STAGES: tuple[Stage, ...] = (
    Stage("tune", tunes, with_tuning),
    Stage("seeds", has_rule, add_seeds),
)
"""In order: each reads what the ones before it make known."""


def stages_of(study: StudySpec) -> list[Stage]:
    """Return the stages that a study asks for; none for a study that is known from the start."""
    return [stage for stage in STAGES if stage.applies(study)]


def known_runs(study: StudySpec, grid: list[RunSpec], records: Records) -> Known:
    """Return the runs of a study that are known from the records of those that have ended.

    Args:
        study: what its YAML says.
        grid: all runs that it describes, from :func:`plan`.
        records: run id -> record.
    """
    known = Known(grid)
    for stage in stages_of(study):
        known = stage.extend(study, known, records)
    return known


def locate_known(
    study: StudySpec,
    folder: Path,
    load_head: Callable[[Entry], SegmenterSpec] = load_with_vocabulary,
) -> Located:
    """Return the runs of a study that are known from what its folder holds.

    Args:
        study: what its YAML says.
        folder: of the study.
        load_head: see :func:`plan`.

    Raises:
        InputError: see :func:`plan`.
    """
    grid = plan(study, load_head)
    if not stages_of(study):
        return Located(locate(grid, folder))
    located: dict[str, PlannedRun] = {}
    while True:
        records = {name: run.record for name, run in located.items() if run.record is not None}
        known = known_runs(study, grid, records)
        by_name = {spec.run_id: spec for spec in known.runs}
        new = [spec for name, spec in by_name.items() if name not in located]
        if not new:
            found = [located[name] for name in by_name]
            return Located(found, known.following, known.stopped, _to_come(known, folder))
        # what these have recorded may make more runs known
        located |= {run.folder.name: run for run in locate(new, folder)}


def _to_come(known: Known, folder: Path) -> tuple[PlannedRun, ...]:
    """Return the runs that will follow as runs that have not begun, in folders that never exist."""
    runs = folder / "runs"
    return tuple(PlannedRun(run, runs / f"{run.run_id}-expected", None) for run in known.expected)


def all_runs(study: StudySpec, records: Records) -> list[RunSpec]:
    """Return the known runs of a study, and stand-ins for those that will follow.

    Args:
        study: what its YAML says.
        records: run id -> record.

    Raises:
        InputError: see :func:`plan`.
    """
    known = known_runs(study, plan(study), records)
    return [*known.runs, *known.expected]
