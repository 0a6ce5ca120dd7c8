"""What a training run has done so far: all of it is in every checkpoint."""

from dataclasses import dataclass, field
from typing import Any

LOSS_POINTS = 200
"""About this many points make a loss curve."""


@dataclass
class Progress:
    """Counters and curves of a training run.

    Attributes:
        step: optimiser steps done.
        seconds: time spent in them, over all starts.
        peak_memory_bytes: the most seen.
        peak_memory_of: what that is, in words.
        loss_steps, loss: mean loss of the steps since the entry before.
        val_steps, val_miou: evaluations on the validation split (mIoU in 0..1; None = no labelled pixel).
        best_step, best_miou: the evaluation that the best checkpoint belongs to.
    """

    step: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_memory_of: str = ""
    loss_steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    val_steps: list[int] = field(default_factory=list)
    val_miou: list[float | None] = field(default_factory=list)
    best_step: int = 0
    best_miou: float | None = None
    pending_loss: list[float] = field(default_factory=list)

    def record_evaluation(self, miou: float | None) -> bool:
        """Adds an evaluation; True if it is the best so far (the first one of equals)."""
        self.val_steps.append(self.step)
        self.val_miou.append(miou)
        best = self.best_step == 0 or (
            miou is not None and (self.best_miou is None or miou > self.best_miou)
        )
        if best:
            self.best_step, self.best_miou = self.step, miou
        return best

    def record_loss(self, loss: float, every: int) -> bool:
        """Adds one step's loss; True when ``every`` steps have been averaged into a new point of the curve."""
        self.pending_loss.append(loss)
        if self.step % every:
            return False
        self.loss_steps.append(self.step)
        self.loss.append(sum(self.pending_loss) / len(self.pending_loss))
        self.pending_loss.clear()
        return True

    def points(self) -> list[dict[str, float | None]]:
        """Both curves, by step: ``{"step": …, "loss": …}`` and ``{"step": …, "val_miou": …}``."""
        found: list[tuple[int, str, float | None]] = []
        found += [
            (step, "loss", value) for step, value in zip(self.loss_steps, self.loss, strict=True)
        ]
        found += [
            (step, "val_miou", value)
            for step, value in zip(self.val_steps, self.val_miou, strict=True)
        ]
        return [
            {"step": step, name: value}
            for step, name, value in sorted(found, key=lambda point: point[:2])
        ]

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
