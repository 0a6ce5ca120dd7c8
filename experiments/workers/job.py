"""What is asked of whoever computes a run, and what comes back."""

from dataclasses import dataclass
from typing import Literal

from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.record import RunRecord


@dataclass(frozen=True)
class Job:
    """How the runs of a study are computed.

    Attributes:
        retry_failed: whether a failed run is computed again.
        lock_seconds: how long to wait for a run that another process holds; longer than a dying
            process needs.
    """

    execution: Execution
    retry_failed: bool = False
    lock_seconds: float = 2.0


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
        message = record.error.line if record.error else ""
        miou = record.metrics.miou if record.metrics else None
        return cls(record.run_id, record.status, seconds, miou, message)
