"""How far a run is, in a small file of its folder: what other processes and machines can see of it."""

import time
from pathlib import Path

from pydantic import BaseModel, ValidationError

from encoder_ablations.utils.files import write_json

NAME = "progress.json"
SECONDS = 2.0
"""Between two writings, at least."""
SHARE = 0.005
"""Of the time may go into writing, at most."""


class RunProgress(BaseModel):
    """``run_id``: whose file it is.

    ``seconds_per_step`` is measured over the present start, with evaluations; None before its second step.
    """

    run_id: str
    step: int
    steps: int
    seconds_per_step: float | None
    status: str


class ProgressFile:
    """Called after every step; writes now and then."""

    def __init__(self, folder: Path, run_id: str, steps: int) -> None:
        self.path = folder / NAME
        self.run_id = run_id
        self.steps = steps
        self.first: tuple[int, float] | None = None
        self.due = 0.0

    def __call__(self, step: int, status: str) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = (step, now)
        if now < self.due:
            return
        done, seconds = step - self.first[0], now - self.first[1]
        speed = seconds / done if done else None
        written = RunProgress(
            run_id=self.run_id, step=step, steps=self.steps, seconds_per_step=speed, status=status
        )
        write_json(self.path, written.model_dump())
        self.due = now + max(SECONDS, (time.monotonic() - now) / SHARE)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def read_progress(folder: Path, run_id: str) -> RunProgress | None:
    """Return what the run wrote last; None if there is nothing, or nothing of this run and version."""
    try:
        found = RunProgress.model_validate_json((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    return found if found.run_id == run_id else None
