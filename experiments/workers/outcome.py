"""What became of a run that a study asked for."""

from dataclasses import dataclass
from typing import Literal

from encoder_ablations.experiments.runs.record import RunRecord


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        state: "elsewhere" if another process computes it, "interrupted" if it was told to stop.
        message: why it failed, in one line.
    """

    run_id: str
    state: Literal["finished", "failed", "elsewhere", "interrupted"]
    seconds: float = 0.0
    miou: float | None = None
    message: str = ""

    @classmethod
    def of(cls, record: RunRecord, seconds: float = 0.0) -> "Outcome":
        """Return what a run's record says."""
        message, miou = "", None
        if record.error:
            message = record.error.line
        if record.metrics:
            miou = record.metrics.miou
        return cls(record.run_id, record.status, seconds, miou, message)
