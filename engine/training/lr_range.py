"""The learning-rate range test: how the loss moves while the rate grows.

Smith, "Cyclical Learning Rates for Training Neural Networks" (WACV 2017, section 3.3); the
exponential growth, the smoothing, the end at four times the best loss and both suggestions are
those of fastai's ``lr_find`` (Howard & Gugger, 2020).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from accelerate import Accelerator
from torch import Tensor

from encoder_ablations.data.loading.batches import training_batches
from encoder_ablations.data.loading.items import Batch
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.engine.training.schedule import set_rates
from encoder_ablations.engine.training.steps import MicroBatch, PlainStep, StepSetup
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import seed_global

KEPT = 0.9
"""Share of the smoothed loss that each step keeps. fastai keeps 0.98, which lags by half of a test
of 100 steps.
"""
DIVERGED = 4.0
"""The test ends when the smoothed loss exceeds its minimum so many times."""
LEAST_STEPS = 10
LEAST_FALL = 0.02
"""Share of the smoothed loss that must be lost for a rate to be suggested."""


@dataclass(frozen=True)
class RangeSettings:
    """Which rates are tried: ``steps`` of them, from ``low`` to ``high`` by equal factors."""

    low: float = 1e-7
    high: float = 10.0
    steps: int = 100

    def rate(self, step: int) -> float:
        """Return the learning rate at ``step``, counted from 0."""
        return float(self.low * (self.high / self.low) ** (step / (self.steps - 1)))


@dataclass
class RangeTest:
    """What a test has found.

    Attributes:
        rates: the learning rate of every step, of everything but the encoder's body.
        losses: the loss before each step.
        smoothed: its moving average, corrected for its start at 0.
    """

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    _average: float = 0.0

    def add(self, rate: float, loss: float) -> bool:
        """Add a step; return whether the loss has diverged."""
        self._average = KEPT * self._average + (1 - KEPT) * loss
        smoothed = self._average / (1 - KEPT ** (len(self.losses) + 1))
        self.rates.append(rate)
        self.losses.append(loss)
        self.smoothed.append(smoothed)
        return smoothed > DIVERGED * min(self.smoothed)

    @property
    def steepest(self) -> float | None:
        """The rate at which the smoothed loss falls fastest over the logarithm of the rate.

        None where it hardly falls, or where the test ended after a few steps.
        """
        if len(self.rates) < LEAST_STEPS:
            return None
        smoothed = np.array(self.smoothed)
        # the averages of the first steps are of few losses
        first = LEAST_STEPS // 2
        if smoothed[first:].min() > (1 - LEAST_FALL) * smoothed[first]:
            return None
        slopes = np.gradient(smoothed, np.log(self.rates))
        return self.rates[first + int(np.argmin(slopes[first:]))]

    @property
    def below_minimum(self) -> float:
        """A tenth of the rate at which the smoothed loss is lowest."""
        return self.rates[int(np.argmin(self.smoothed))] / 10

    @property
    def suggestion(self) -> float | None:
        """The smaller of both rates; None where the loss never fell."""
        if self.steepest is None:
            return None
        return min(self.steepest, self.below_minimum)


def range_test(
    segmenter: Segmenter,
    data: TrainingData,
    recipe: Recipe,
    seed: int,
    accelerator: Accelerator,
    settings: RangeSettings,
    workers: int = 0,
    store: FeatureStore | None = None,
    advance: Callable[[], object] = lambda: None,
) -> RangeTest:
    """Train for some steps with growing rates; return what the loss did.

    Batches, optimiser and clipping are those of a training by the recipe; its schedule is not used.
    Nothing is written. A private recipe is refused.

    Args:
        segmenter: with its initial weights; it is changed.
        data: images to train on.
        recipe: how to train.
        seed: of data order and augmentation.
        accelerator: the device; there must be one process.
        settings: which rates are tried.
        workers: processes that load data; 0 = this one.
        store: where a frozen body's features are kept; None = computed every time.
        advance: called after every step.
    """
    steps = _Steps(segmenter.to(accelerator.device), data, recipe, accelerator, store)
    batches = training_batches(
        data.train,
        data.train_indices,
        recipe.augmentation,
        seed=seed,
        batch_size=recipe.batch_size,
        steps=settings.steps,
        accumulation=recipe.accumulation,
        workers=workers,
    )
    found = RangeTest()
    for number, batch in enumerate(batches):
        rate = settings.rate(number)
        seed_global(seed, "step", number, 0)
        try:
            loss = steps.take(batch, rate)
        except FloatingPointError:  # diverged beyond all numbers
            break
        advance()
        if found.add(rate, loss):
            break
    return found


class _Steps:
    """Makes training steps at any learning rate."""

    def __init__(
        self,
        segmenter: Segmenter,
        data: TrainingData,
        recipe: Recipe,
        accelerator: Accelerator,
        store: FeatureStore | None,
    ) -> None:
        if recipe.privacy is not None:
            raise InputError(
                "recipe.privacy: the range test learns from the training images without noise. "
                "Leave privacy out, and use images that may be seen."
            )
        self.data = data
        self.lr = recipe.optimizer.lr
        self.device = accelerator.device
        self.features = FeatureSource(segmenter, recipe, store)
        self.optimizer = build_optimizer(segmenter, recipe.optimizer)
        self.step = PlainStep(StepSetup(segmenter, self.optimizer, recipe, accelerator))
        segmenter.train()

    def take(self, batches: Sequence[Batch], rate: float) -> float:
        """Make a step at a rate of everything but the encoder's body; return the loss before it.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        set_rates(self.optimizer, rate / self.lr)
        return self.step.take([self._moved(batch) for batch in batches], _finite)

    def _moved(self, batch: Batch) -> MicroBatch:
        images = self.features.training(self.data.train, batch, batch.images.to(self.device))
        return MicroBatch.of(batch, images, self.device)


def _finite(loss: Tensor) -> float:
    """Return a loss as a number.

    Raises:
        FloatingPointError: it is not finite.
    """
    value = float(loss)
    if not math.isfinite(value):
        raise FloatingPointError
    return value
