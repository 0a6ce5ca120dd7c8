"""The callback that writes the curves of a run as text."""

import json

from encoder_ablations.engine.training.callbacks import (
    Callback,
    EvaluationReport,
    StepReport,
    Training,
)
from encoder_ablations.utils.files import write_text

NAME = "metrics.jsonl"


class MetricsFile(Callback):
    """Writes both curves to ``metrics.jsonl``, one JSON object a line.

    The file is rewritten whole, so that an interrupted run leaves no stale lines.
    """

    training: Training

    def on_start(self, training: Training) -> None:
        """Keep the curves' place; what an earlier start wrote stays until the next point."""
        self.training = training

    def on_step(self, report: StepReport) -> None:
        """Write at every new point of the loss curve."""
        if report.mean_loss is not None:
            self._write()

    def on_evaluation(self, report: EvaluationReport) -> None:
        """Write at every evaluation."""
        self._write()

    def _write(self) -> None:
        if self.training.writes:
            lines = [json.dumps(point) + "\n" for point in self.training.progress.points()]
            write_text(self.training.folder / NAME, "".join(lines))
