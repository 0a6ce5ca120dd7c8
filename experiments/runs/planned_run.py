"""A run that a study asks for, and how far it has got."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encoder_ablations.experiments.runs.folder import LAST, load_run
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError

RunState = Literal["finished", "failed", "interrupted", "not begun", "unreadable"]


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study and how far it has got.

    Attributes:
        record: what was recorded of it; None if nothing was.
        problem: why its folder cannot be used; None if it can.
    """

    spec: RunSpec
    folder: Path
    record: RunRecord | None
    problem: str | None = None

    @property
    def state(self) -> RunState:
        """How far the run is, as its folder shows it."""
        if self.problem is not None:
            return "unreadable"
        if self.record is not None:
            return self.record.status
        if (self.folder / LAST).exists():
            return "interrupted"
        return "not begun"


def locate(specs: Sequence[RunSpec], study_folder: Path) -> list[PlannedRun]:
    """Return the runs with their folders, and their records where they have one."""
    return [_locate(spec, study_folder / "runs" / spec.run_id) for spec in specs]


def _locate(spec: RunSpec, folder: Path) -> PlannedRun:
    try:
        record = load_run(folder)
    except InputError as error:
        return PlannedRun(spec, folder, None, str(error))
    return PlannedRun(spec, folder, record)
