"""What happens around training steps: hooks that the training loop calls in every process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.picture import Picture
from encoder_ablations.engine.training.checkpoints import CheckpointError, check_plain
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError


@dataclass(frozen=True)
class Training:
    """The training that a callback belongs to.

    Attributes:
        segmenter: the model in training, with all its weights.
        progress: counters and curves; the loop alone changes them.
        folder: the run's folder.
        run_id: the run that the folder's files belong to.
        steps: optimiser steps of the whole training.
        writes: whether this process writes files; of several processes only the first does.
    """

    segmenter: Segmenter
    progress: Progress
    folder: Path
    run_id: str
    steps: int
    writes: bool


@dataclass(frozen=True)
class StepReport:
    """One optimiser step.

    Attributes:
        step: steps done, this one included.
        loss: loss of the whole batch, over all processes.
        mean_loss: mean loss since the last point of the loss curve; None between two points.
        rate: learning rate of the first parameter group.
        mean_terms: as ``mean_loss``, of each loss where several are added, by name.
    """

    step: int
    loss: float
    mean_loss: float | None
    rate: float
    mean_terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationReport:
    """One evaluation on the validation split.

    Attributes:
        step: steps done.
        miou: mean IoU, 0..1; NaN where no pixel is labelled. The accuracy for classification.
        best: whether it is the best so far, by the recipe's metric.
        confusion: counts over all processes' images.
        pictures: a few of this process's images.
    """

    step: int
    miou: float
    best: bool
    confusion: ConfusionMatrix
    pictures: Sequence[Picture]


class Callback:
    """Does something at certain moments of a training; the base class does nothing.

    All processes of a run call the same hooks after the same steps, in the order of the callbacks.
    What a callback must remember when a killed run goes on is its state.
    """

    def on_start(self, training: Training) -> None:
        """Begin, or go on after ``training.progress.step`` steps; the state is loaded already."""

    def on_step(self, report: StepReport) -> None:
        """See every optimiser step."""

    def on_evaluation(self, report: EvaluationReport) -> None:
        """See every evaluation; it follows ``on_step`` of the same step.

        If weights are averaged, the segmenter has the averaged ones, which were evaluated.
        """

    def reason_to_stop(self) -> str | None:
        """Return why training should end now, None to go on; asked after every evaluation.

        All processes must give the same answer.
        """
        return None

    def on_checkpoint(self, step: int) -> None:
        """Prepare for a checkpoint: the state is read, and saved, right after this hook."""

    def on_saved(self) -> None:
        """Delete what only an older checkpoint needed: the new one is saved."""

    def on_end(self, step: int, finished: bool) -> None:
        """Close files; called however training ends.

        Args:
            step: steps done.
            finished: False where an error or Ctrl-C ends training; True also where a callback does.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state: tensors and plain values. That of the first process is saved."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned as the last checkpoint was saved."""


class Callbacks(Callback):
    """Several callbacks as one, called in their order. Each is known by the name of its class."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = {type(callback).__name__: callback for callback in callbacks}
        if len(self.callbacks) < len(callbacks):
            names = ", ".join(type(callback).__name__ for callback in callbacks)
            raise InputError(
                f"two callbacks are of one class: {names}. Only one of a class is allowed, since "
                "its state is saved under that name; derive a class for the second."
            )

    def on_start(self, training: Training) -> None:
        """See :class:`Callback`."""
        for callback in self.callbacks.values():
            callback.on_start(training)

    def on_step(self, report: StepReport) -> None:
        """See :class:`Callback`."""
        for callback in self.callbacks.values():
            callback.on_step(report)

    def on_evaluation(self, report: EvaluationReport) -> None:
        """See :class:`Callback`."""
        for callback in self.callbacks.values():
            callback.on_evaluation(report)

    def reason_to_stop(self) -> str | None:
        """Return the first callback's reason."""
        reasons = [callback.reason_to_stop() for callback in self.callbacks.values()]
        return next(filter(None, reasons), None)

    def on_checkpoint(self, step: int) -> None:
        """See :class:`Callback`."""
        for callback in self.callbacks.values():
            callback.on_checkpoint(step)

    def on_saved(self) -> None:
        """See :class:`Callback`."""
        for callback in self.callbacks.values():
            callback.on_saved()

    def on_end(self, step: int, finished: bool) -> None:
        """See :class:`Callback`."""
        for callback in self.callbacks.values():
            callback.on_end(step, finished)

    def state_dict(self) -> dict[str, Any]:
        """Return every callback's state by name; a callback without state is left out.

        Raises:
            InputError: a state holds something that a checkpoint cannot hold.
        """
        states = {name: callback.state_dict() for name, callback in self.callbacks.items()}
        for name, state in states.items():
            check_plain(f"the state of the callback {name}", state)
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give every callback its own state; one that had none begins anew.

        Raises:
            CheckpointError: the callback that a state belongs to is missing.
        """
        missing = sorted(set(state) - set(self.callbacks))
        if missing:
            raise CheckpointError(
                f"the checkpoint holds the state of {', '.join(missing)}, but this training has no "
                f"such callback (it has {', '.join(self.callbacks)}). Give it the same callbacks."
            )
        for name, own in state.items():
            self.callbacks[name].load_state_dict(own)
