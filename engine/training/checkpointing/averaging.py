"""Weights averaged over training steps, evaluated and saved in place of the raw ones.

"ema" is an exponential moving average (Polyak & Juditsky, 1992), "swa" the plain mean of the last
weights (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI
2018). Both go beside the training: the optimiser never sees them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import EmaSpec, SwaSpec
from encoder_ablations.engine.training.batch_norm import learning_norms
from encoder_ablations.engine.training.batch_norm_statistics import (
    estimate_learnt_statistics,
    share_statistics,
)
from encoder_ablations.engine.training.callbacks import Callback, StepReport
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError


def check_average(segmenter: Segmenter, recipe: Recipe) -> None:
    """Check that an average has something to average.

    Raises:
        InputError: no parameter learns.
    """
    learns = any(parameter.requires_grad for parameter in segmenter.parameters())
    if recipe.average is not None and not learns:
        raise InputError(
            f"recipe.average {recipe.average.kind}: no parameter of this model learns, so that "
            "there is nothing to average. Leave it out, or let a part of the model learn."
        )


def make_average(
    segmenter: Segmenter, recipe: Recipe, images: Callable[[], Iterable[Tensor]]
) -> "WeightAverage | None":
    """Return the average that a recipe asks for; None = it asks for none.

    Args:
        segmenter: the model, on its device.
        recipe: how it is trained.
        images: see :class:`WeightAverage`.

    Raises:
        InputError: there is nothing to average.
    """
    if recipe.average is None:
        return None
    check_average(segmenter, recipe)
    return WeightAverage(segmenter, recipe.average, recipe.steps, images)


class WeightAverage(Callback):
    """Averages what training changes: parameters that learn, and BatchNorms' running statistics.

    A frozen part never changes, and is no part of it.

    Args:
        segmenter: the model in training, on its device.
        spec: which average.
        steps: of the whole training.
        images: gives training images B×3×H×W anew, for the BatchNorm statistics of "swa".
    """

    def __init__(
        self,
        segmenter: Segmenter,
        spec: EmaSpec | SwaSpec,
        steps: int,
        images: Callable[[], Iterable[Tensor]],
    ) -> None:
        self.segmenter = segmenter
        self.spec = spec
        self.steps = steps
        self.images = images
        self.live = _changing(segmenter)
        self.means = {name: tensor.clone() for name, tensor in self.live.items()}
        self.count = 0
        """States that have entered the average; before the first the raw weights count."""

    @torch.no_grad()
    def on_step(self, report: StepReport) -> None:
        """Let the weights after this step enter the average, if its rule says so."""
        share = self._share(report.step)
        if share is None:
            return
        self.count += 1
        for name, mean in self.means.items():
            mean.lerp_(self.live[name], share)

    def _share(self, step: int) -> float | None:
        """Return the new weights' share of the average after ``step`` steps; None = no change."""
        if isinstance(self.spec, SwaSpec):
            if step not in self.spec.states(self.steps):
                return None
            return 1 / (self.count + 1)
        if step <= self.spec.warmup:
            return 1.0
        return 1 - self.spec.decay

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in place of the weights, within a ``with`` block.

        Before the first state it does nothing. Afterwards the weights are the same to the bit.
        """
        if not self.count:
            yield
            return
        raw = {name: tensor.clone() for name, tensor in self.live.items()}
        try:
            self._fill(self.means)
            self._renew_statistics()
            yield
        finally:
            self._fill(raw)

    @torch.no_grad()
    def _fill(self, values: dict[str, Tensor]) -> None:
        for name, tensor in self.live.items():
            tensor.copy_(values[name])

    def _renew_statistics(self) -> None:
        """Estimate the BatchNorm statistics of a plain mean, which no batch has passed."""
        norms = learning_norms(self.segmenter)
        if isinstance(self.spec, SwaSpec) and norms:
            estimate_learnt_statistics(self.segmenter, self.images())
            share_statistics(norms)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and how many states are in it."""
        return {"count": self.count, "means": self.means}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Callback`."""
        self.count = state["count"]
        for name, mean in self.means.items():
            mean.copy_(state["means"][name])


def averaged(average: WeightAverage | None) -> AbstractContextManager[None]:
    """Return a context in which the model has its averaged weights, if there is an average."""
    if average is None:
        return nullcontext()
    return average.in_place()


def _changing(segmenter: Segmenter) -> dict[str, Tensor]:
    """Return the tensors that training changes, by their names: parameters and statistics."""
    found = {
        name: parameter.detach()
        for name, parameter in segmenter.named_parameters()
        if parameter.requires_grad
    }
    learning = {id(norm) for norm in learning_norms(segmenter)}
    for prefix, module in segmenter.named_modules():
        if id(module) in learning:
            for name in ("running_mean", "running_var"):
                statistic = getattr(module, name)
                if statistic is not None:
                    found[f"{prefix}.{name}"] = statistic
    return found
