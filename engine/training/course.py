"""The course of a training, where it is not simply one step after the other."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from encoder_ablations.data.loading.items import Batch
from encoder_ablations.engine.training.state import Progress

Advance = Callable[[int, str], object]
"""Called after every step with the number of steps done and a short status."""


@dataclass(frozen=True)
class Loop:
    """What a course uses of the training loop.

    Attributes:
        progress: counters and curves.
        step: makes one optimiser step, number ``progress.step``, from micro-batches, with the
            random numbers of a seed; returns its loss.
        report: adds a step's loss, and the losses that it is the sum of, to the curves.
        evaluate: evaluates the model if that is due after ``progress.step``; returns whether.
        save: saves a checkpoint; raises ``Stopped`` where the process was interrupted.
        save_is_due: whether a checkpoint is due.
        interrupted: whether the process was asked to stop.
        finished: whether no step is left.
    """

    progress: Progress
    step: Callable[[list[Batch], int], float]
    report: Callable[[float, Mapping[str, float]], None]
    evaluate: Callable[[], bool]
    save: Callable[[], None]
    save_is_due: Callable[[], bool]
    interrupted: Callable[[], bool]
    finished: Callable[[], bool]


class Course(ABC):
    """Takes a training's steps in an order of its own; what that depends on is its state."""

    @abstractmethod
    def train(self, loop: Loop, advance: Advance) -> None:
        """Train to the last step.

        Raises:
            Stopped: the process was interrupted.
        """

    def privacy(self) -> dict[str, float] | None:
        """Return what a course that protects more than steps do has spent: see :class:`Step`."""
        return None

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the state, for a checkpoint: tensors and plain values."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
