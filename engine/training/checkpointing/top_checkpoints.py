"""The callback that keeps the best few states of the model."""

import os
from pathlib import Path

from encoder_ablations.engine.evaluation.metrics import number_or_none
from encoder_ablations.engine.recipe_parts import CheckpointsSpec
from encoder_ablations.engine.training.callbacks import Callback, EvaluationReport, Training
from encoder_ablations.engine.training.checkpointing.frozen_body import save_model


class TopCheckpoints(Callback):
    """Keeps the best states as ``step-N.pt``, beside ``best.pt``.

    It comes after :class:`BestCheckpoint`, whose file it links where that is the same state.

    Args:
        best: the file of the best state.
        spec: how many are kept, and by which metric.
    """

    training: Training

    def __init__(self, best: Path, spec: CheckpointsSpec) -> None:
        self.best = best
        self.spec = spec

    def on_start(self, training: Training) -> None:
        """Learn where the curves are, and which process writes."""
        self.training = training

    def on_evaluation(self, report: EvaluationReport) -> None:
        """Save the model if it is among the best so far."""
        if report.step not in self.kept() or not self.training.writes:
            return
        path = self._path(report.step)
        if report.best and _linked(self.best, path):
            return
        content = {
            "run_id": self.training.run_id,
            "step": report.step,
            "val_score": number_or_none(report.miou),
        }
        save_model(path, self.training.segmenter, content)

    def on_saved(self) -> None:
        """Delete the states that better ones have overtaken.

        A run that is killed before goes on from an older checkpoint, for which they may still be
        among the best.
        """
        if self.training.writes:
            keep = {self._path(step) for step in self.kept()}
            for path in self.best.parent.glob("step-*.pt"):
                if path not in keep:
                    path.unlink(missing_ok=True)

    def kept(self) -> list[int]:
        """Return the steps of the best states so far, best first."""
        return self.training.progress.ranking(self.spec.metric)[: self.spec.keep]

    def _path(self, step: int) -> Path:
        return self.best.parent / f"step-{step}.pt"


def _linked(source: Path, path: Path) -> bool:
    """Make ``path`` another name of a file; return False on a disk that cannot."""
    path.unlink(missing_ok=True)  # of a start that was killed
    try:
        os.link(source, path)
    except OSError:
        return False
    return True
