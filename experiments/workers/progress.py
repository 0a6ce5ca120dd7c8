"""The progress file of a run, by which other processes and machines see how far it is."""

import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from encoder_ablations.experiments.runs.execution import follows_training
from encoder_ablations.experiments.runs.folder import discard_last
from encoder_ablations.utils.files import write_json

NAME = "progress.json"
SECONDS = 2.0
"""The least time between two writings."""
SHARE = 0.005
"""The largest share of the time that may go into writing."""


class RunProgress(BaseModel):
    """How far a run is.

    Attributes:
        run_id: whose file it is.
        seconds_per_step: since the present start, with evaluations; None before its second step.
        status: the latest loss and mIoU, in words.
    """

    run_id: str
    step: int
    steps: int
    seconds_per_step: float | None
    status: str


class ProgressFile:
    """Writes the progress file now and then; to be called after every step."""

    def __init__(self, folder: Path, run_id: str, steps: int) -> None:
        self.path = folder / NAME
        self.run_id = run_id
        self.steps = steps
        self.first: tuple[int, float] | None = None
        self.due = 0.0

    def __call__(self, step: int, status: str) -> None:
        """Note that ``step`` steps are done."""
        now = time.monotonic()
        if self.first is None:
            self.first = (step, now)
        if now < self.due and not follows_training(status):
            return
        done, seconds = step - self.first[0], now - self.first[1]
        speed = None
        if done:
            speed = seconds / done
        written = RunProgress(
            run_id=self.run_id, step=step, steps=self.steps, seconds_per_step=speed, status=status
        )
        write_json(self.path, written.model_dump())
        self.due = now + max(SECONDS, (time.monotonic() - now) / SHARE)

    def remove(self) -> None:
        """Delete the file: the run has ended."""
        self.path.unlink(missing_ok=True)


def read_progress(folder: Path, run_id: str) -> RunProgress | None:
    """Return what the run wrote last; None if nothing of this run and version is there."""
    try:
        found = RunProgress.model_validate_json((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    if found.run_id != run_id:
        return None
    return found


def clear_up(folder: Path, keep_last: bool) -> None:
    """Delete what a finished run no longer needs, where a crash or --keep-last has left it.

    Raises:
        StorageError: the checkpoint that training went on from cannot be deleted.
    """
    with suppress(OSError):  # where it stays, nobody reads it
        (folder / NAME).unlink(missing_ok=True)
    if not keep_last:
        discard_last(folder)
