"""What became of a run that a study asked for."""

from dataclasses import dataclass
from typing import Literal

from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.experiments.runs.record import RunRecord


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        state: "elsewhere" if another process computes it, "interrupted" if it was told to stop.
        miou: its main metric, 0..1.
        message: why it failed, in one line.
        metric: what the main metric is called.
    """

    run_id: str
    state: Literal["finished", "failed", "elsewhere", "interrupted"]
    seconds: float = 0.0
    miou: float | None = None
    message: str = ""
    metric: str = "mIoU"

    @classmethod
    def of(cls, record: RunRecord, seconds: float = 0.0) -> "Outcome":
        """Return what a run's record says."""
        message, miou = "", None
        if record.error:
            message = record.error.line
        if record.metrics:
            miou = record.metrics.main
        metric = MAIN_METRICS[record.task].label
        return cls(record.run_id, record.status, seconds, miou, message, metric)
