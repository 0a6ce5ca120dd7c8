"""Counters and curves of a training run, which are part of every checkpoint."""

from collections.abc import Mapping
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
        peak_memory_bytes: the largest peak memory of a step.
        peak_memory_of: which memory that is, in words.
        loss_steps, loss: points of the loss curve; each is the mean since the point before.
        terms: where several losses are added, the same curve of each, by name.
        metric: the task's main metric, by its name in records.
        val_steps, val_score: the main metric of the evaluations on the validation split, in 0..1;
            None where no pixel is labelled.
        val_metrics: the other metrics of the same evaluations, by name.
        best_step, best_value, best_score: the evaluation that the best checkpoint belongs to; the
            metric that it was chosen by, and its main metric.
        epsilon: of private training, what had been spent at each of ``val_steps``; else empty.
        privacy: what :meth:`Step.privacy` said at the last of them.
        epsilon_by_round: of a federation that protects clients, what had been spent after each
            round, by its last step; else empty.
        stopped: why training ended before its last step; None if it did not.
        pending_loss, pending_terms: losses since the last point of the curve.
    """

    step: int = 0
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_memory_of: str = ""
    loss_steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    terms: dict[str, list[float]] = field(default_factory=dict)
    metric: str = "miou"
    val_steps: list[int] = field(default_factory=list)
    val_score: list[float | None] = field(default_factory=list)
    val_metrics: dict[str, list[float | None]] = field(default_factory=dict)
    best_step: int = 0
    best_value: float | None = None
    best_score: float | None = None
    epsilon: list[float] = field(default_factory=list)
    privacy: dict[str, float] | None = None
    epsilon_by_round: dict[int, float] = field(default_factory=dict)
    stopped: str | None = None
    pending_loss: list[float] = field(default_factory=list)
    pending_terms: dict[str, list[float]] = field(default_factory=dict)

    def record_evaluation(
        self, values: Mapping[str, float | None], metric: str | None = None
    ) -> bool:
        """Add an evaluation; return whether it is the best so far (the first one of equals).

        Args:
            values: every metric by its name, the task's main one among them.
            metric: the one that decides; None = the main one.
        """
        main = values[self.metric]
        first = not self.val_steps
        self.val_steps.append(self.step)
        self.val_score.append(main)
        for name in sorted(values.keys() - {self.metric}):
            self.val_metrics.setdefault(name, []).append(values[name])
        value = values[metric or self.metric]
        best = first or _score(value) > _score(self.best_value)
        if best:
            self.best_step, self.best_value, self.best_score = self.step, value, main
        return best

    def record_privacy(self, spent: dict[str, float] | None) -> None:
        """Add what private training has spent by the last evaluation; None = not private."""
        self.privacy = spent
        if spent is not None:
            self.epsilon.append(spent["epsilon"])

    def validation(self, metric: str | None) -> list[float | None]:
        """Return a metric of every evaluation, at ``val_steps``; None = the main one."""
        if metric in (None, self.metric):
            return self.val_score
        return self.val_metrics.get(str(metric), [])

    def ranking(self, metric: str | None) -> list[int]:
        """Return the steps of all evaluations, best by a metric first; of equals the first one."""
        scores = dict(zip(self.val_steps, map(_score, self.validation(metric)), strict=True))
        return sorted(self.val_steps, key=lambda step: -scores[step])

    def record_loss(self, loss: float, every: int, terms: Mapping[str, float]) -> bool:
        """Add one step's loss; return whether it completes a point (mean of ``every`` steps).

        Args:
            loss: of the step.
            every: steps per point.
            terms: the losses that it is the sum of, by name; may be empty.
        """
        self.pending_loss.append(loss)
        for name, value in terms.items():
            self.pending_terms.setdefault(name, []).append(value)
        if self.step % every:
            return False
        self.loss_steps.append(self.step)
        self.loss.append(sum(self.pending_loss) / len(self.pending_loss))
        self.pending_loss.clear()
        for name, values in self.pending_terms.items():
            self.terms.setdefault(name, []).append(sum(values) / len(values))
        self.pending_terms.clear()
        return True

    def points(self) -> list[dict[str, float | None]]:
        """Return both curves' points by step: ``step``, and ``loss`` or ``val_`` + metric."""
        found: list[dict[str, float | None]] = []
        for index, (step, loss) in enumerate(zip(self.loss_steps, self.loss, strict=True)):
            point: dict[str, float | None] = {"step": step, "loss": loss}
            point |= {f"loss/{name}": curve[index] for name, curve in self.terms.items()}
            found.append(point)
        for index, (step, score) in enumerate(zip(self.val_steps, self.val_score, strict=True)):
            point = {"step": step, f"val_{self.metric}": score}
            point |= {f"val_{name}": curve[index] for name, curve in self.val_metrics.items()}
            if self.epsilon:
                point["epsilon"] = self.epsilon[index]
            found.append(point)
        for step, epsilon in self.epsilon_by_round.items():
            if step not in self.val_steps:
                found.append({"step": step, "epsilon": epsilon})
        # a stable sort: at the same step the loss stays before the evaluation
        return sorted(found, key=lambda point: point["step"] or 0)

    def state_dict(self) -> dict[str, Any]:
        """Return everything, for a checkpoint."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        vars(self).update(state)


def _score(value: float | None) -> float:
    """Return a metric that compares: an evaluation without labelled pixels is the worst."""
    if value is None:
        return -1.0
    return value
