"""Checkpoints of a training: the best one, the last one, and when the last one is due."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from encoder_ablations.engine.evaluation.metrics import number_or_none
from encoder_ablations.engine.training.callbacks import Callback, EvaluationReport, Training
from encoder_ablations.engine.training.checkpointing.frozen_body import save_model
from encoder_ablations.engine.training.checkpoints import (
    CheckpointError,
    load_checkpoint,
    load_model,
)
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.interrupts import Interrupt

CHECKPOINT_SECONDS = 30.0
ScoredWeights = Callable[[], AbstractContextManager[None]]


class Stateful(Protocol):
    """Something whose state belongs in a checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state: tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> object:
        """Take over what ``state_dict`` returned."""


class BestCheckpoint(Callback):
    """Saves the model at every evaluation that is the best so far.

    Args:
        path: the file.
        scored: a context in which the model has the weights that are evaluated.
    """

    training: Training

    def __init__(self, path: Path, scored: ScoredWeights = nullcontext) -> None:
        self.path = path
        self.scored = scored

    def on_start(self, training: Training) -> None:
        """Check, where a run goes on, that the best weights so far are there and whole.

        Raises:
            CheckpointError: they are lost. Going on would choose the best of later evaluations
                only, which is another result.
        """
        self.training = training
        progress = training.progress
        if not progress.val_steps:
            return
        if self.path.exists():
            load_checkpoint(self.path, training.run_id)
            return
        if progress.best_step != progress.step:
            raise CheckpointError(
                f"{self.path} is gone, and with it the weights of step {progress.best_step}, the "
                f"best so far; last.pt holds those of step {progress.step}. Restore the file, or "
                "delete the run's folder to run it again."
            )
        # all processes take part where statistics of averaged weights are estimated
        with self.scored():
            if training.writes:
                self._restore(progress)

    def _restore(self, progress: Progress) -> None:
        """Write the file again from the last checkpoint, which is of the same step."""
        print(
            f"warning: {self.path} was gone; it is restored from last.pt, which is of the same "
            f"step {progress.step}.",
            file=sys.stderr,
        )
        self._save(progress.best_step, progress.best_score)

    def on_evaluation(self, report: EvaluationReport) -> None:
        """Save the model, its step and its score."""
        if report.best and self.training.writes:
            self._save(report.step, number_or_none(report.miou))

    def _save(self, step: int, score: float | None) -> None:
        content = {"run_id": self.training.run_id, "step": step, "val_score": score}
        save_model(self.path, self.training.segmenter, content)


class LastCheckpoint(Callback):
    """Saves, at every checkpoint, all that a killed run needs to go on with the same bits.

    It comes last, so that the other callbacks' states are those after their ``on_checkpoint``.

    Args:
        path: the file.
        run_id: the run that it belongs to.
        segmenter: whose weights are saved as "model".
        parts: name in the file -> what else is saved.
    """

    training: Training

    def __init__(
        self, path: Path, run_id: str, segmenter: Segmenter, parts: Mapping[str, Stateful]
    ) -> None:
        self.path = path
        self.run_id = run_id
        self.segmenter = segmenter
        self.parts = parts

    def resume(self) -> None:
        """Load everything from the file; do nothing where there is none.

        Raises:
            CheckpointError: the file is damaged or another run's.
        """
        if not self.path.exists():
            return
        content = load_checkpoint(self.path, self.run_id)
        load_model(self.segmenter, content["model"], self.path)
        for name, part in self.parts.items():
            part.load_state_dict(content[name])

    def on_start(self, training: Training) -> None:
        """Learn which process writes."""
        self.training = training

    def on_checkpoint(self, step: int) -> None:
        """Save everything."""
        if not self.training.writes:
            return
        states = {name: part.state_dict() for name, part in self.parts.items()}
        save_model(self.path, self.segmenter, {"run_id": self.run_id, **states})


class Agreement:
    """When all processes save a checkpoint: together, so they decide it together.

    The first process's clock counts for all, and an interruption (Ctrl-C) of any.

    Attributes:
        interrupt: whether this process was interrupted.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.interrupt = Interrupt()
        self.agreed = False
        self.restart()

    def restart(self) -> None:
        """Start the clock anew, as after a checkpoint."""
        self.saved = time.monotonic()

    def reduce(self, loss: Tensor, step: int) -> float:
        """Return the sum of all processes' losses; the wish to save travels with it.

        Args:
            loss: scalar, this process's share of the loss.
            step: whose loss it is, counted from 0.

        Raises:
            FloatingPointError: the sum is not finite.
        """
        wish = torch.full((), float(self._wishes()), device=loss.device)
        total, wishes = self.accelerator.reduce(torch.stack([loss, wish]), "sum").tolist()
        self.agreed = wishes > 0
        if not math.isfinite(total):
            raise FloatingPointError(
                f"the loss is {total} at step {step}; a lower learning rate may help"
            )
        return float(total)

    def _wishes(self) -> bool:
        due = time.monotonic() - self.saved > CHECKPOINT_SECONDS
        return self.interrupt.requested or (self.accelerator.is_main_process and due)

    @property
    def due(self) -> bool:
        """Whether a checkpoint is due after this step.

        A process that works alone also sees an interruption that came after the step's reduction.
        """
        alone = self.accelerator.num_processes == 1
        return self.agreed or (alone and self.interrupt.requested)

    def stops(self) -> bool:
        """Return whether any process was interrupted; all processes must call it."""
        return bool(self.most(int(self.interrupt.requested)))

    def most(self, number: int) -> int:
        """Return the largest of all processes' numbers; all processes must call it."""
        own = torch.tensor([number], device=self.accelerator.device)
        return int(self.accelerator.gather(own).max())
