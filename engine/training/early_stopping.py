"""The callback that ends training when a validation metric no longer rises."""

import math
from collections.abc import Iterable

from encoder_ablations.engine.recipe_parts import EarlyStoppingSpec
from encoder_ablations.engine.training.callbacks import Callback, Training
from encoder_ablations.utils.texts import plural


class EarlyStopping(Callback):
    """Asks for the end of training after some evaluations without a rise.

    It has no state of its own: what it decides follows from the curve, which is in the checkpoint.
    """

    training: Training

    def __init__(self, spec: EarlyStoppingSpec) -> None:
        self.spec = spec

    def on_start(self, training: Training) -> None:
        """Learn where the curves are."""
        self.training = training

    def reason_to_stop(self) -> str | None:
        """See :class:`Callback`."""
        spec = self.spec
        values = self.training.progress.validation(spec.metric)
        if without_rise(values, spec.min_delta) < spec.patience:
            return None
        evaluations = plural(spec.patience, "evaluation")
        metric = spec.metric or self.training.progress.metric
        return f"validation {metric} had not risen for {evaluations}"


def without_rise(values: Iterable[float | None], min_delta: float) -> int:
    """Return the evaluations since the last rise.

    Args:
        values: a metric of every evaluation, 0..1; None, which is below all, where no pixel is
            labelled.
        min_delta: how much more than the best so far is a rise.
    """
    best, waited = -math.inf, 0
    for value in values:
        score = -1.0 if value is None else value
        if score > best + min_delta:
            best, waited = score, 0
        else:
            waited += 1
    return waited
