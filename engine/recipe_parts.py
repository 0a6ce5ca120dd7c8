"""The sections of a recipe: optimiser, schedule, averages, early stopping and checkpoints."""

import math
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from encoder_ablations.engine.optimizers import ADAMW, check_arguments, optimizer_class
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.errors import InputError

Average = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
MetricName = Literal[
    "miou",
    "mean_class_accuracy",
    "pixel_accuracy",
    "frequency_weighted_iou",
    "accuracy",
    "balanced_accuracy",
]
OF_CLASSIFICATION = ("accuracy", "balanced_accuracy")
"""Metrics of classification; the others are of segmentation."""


def _is_computed(name: object) -> object:
    if isinstance(name, str) and "loss" in name:
        allowed = ", ".join(get_args(MetricName))
        raise ValueError(f"no loss is computed on validation images; allowed are {allowed}")
    return name


Metric = Annotated[MetricName, BeforeValidator(_is_computed)]
"""What every evaluation on validation images computes; more is better."""
STATED = ("lr", "weight_decay", "clip_norm")
"""Settings whose defaults are AdamW's: any other optimiser needs them to be said."""


class OptimizerSpec(Config):
    """An optimiser of ``torch.optim``, by default AdamW (Loshchilov & Hutter, ICLR 2019).

    Norms, biases, embeddings, tokens and LayerScale have no weight decay. Another optimiser than
    AdamW needs ``lr``, ``weight_decay`` and ``clip_norm`` to be said, whose defaults are AdamW's.
    """

    name: Annotated[str, AfterValidator(str.lower)] = ADAMW
    """Name of a class of ``torch.optim``, in any case: "adamw", "sgd", "nadam" … Refused are LBFGS,
    Muon and SparseAdam.
    """
    lr: float = Field(default=1e-4, gt=0)
    """Learning rate of everything but the encoder's body."""
    encoder_lr_multiplier: float = Field(default=0.1, gt=0)
    """Factor on the learning rate of the encoder's body (never of its neck)."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Further factor per block of the body, counted from its last block; 1 = none."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Weight decay as the optimiser has it: apart from the gradient in AdamW and Adafactor, added
    to the gradient (L2) in SGD and most others, which usually get 1e-4 to 5e-4.
    """
    betas: tuple[Average, Average] | None = None
    """Averaging coefficients, 0 or more and less than 1, of optimisers that have them. None = the
    optimiser's own (AdamW: 0.9 and 0.999).
    """
    momentum: Average | None = None
    """Momentum of optimisers that have it, such as SGD. None = the optimiser's own (SGD: 0)."""
    settings: dict[str, JsonValue] = Field(default={})
    """Further keyword arguments of the optimiser's class, such as {nesterov: true} of SGD."""
    clip_norm: float | None = Field(default=0.01, gt=0)
    """Largest norm of the whole model's gradient; None = no clipping."""

    @model_validator(mode="after")
    def _fits_the_class(self) -> Self:
        if self.name == ADAMW and self.momentum is None and not self.settings:
            return self
        unsaid = [key for key in STATED if key not in self.model_fields_set]
        try:
            optimizer_class(self.name)
            if self.name != ADAMW and unsaid:
                raise InputError(
                    f"the optimiser {self.name} needs {', '.join(unsaid)}, too: their defaults are "
                    "AdamW's."
                )
            check_arguments(self.name, self.settings, self.arguments())
        except InputError as error:
            raise ValueError(str(error).removesuffix(".")) from error
        return self

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the optimiser's class; groups have their own decay."""
        found: dict[str, Any] = {"lr": self.lr, **self.settings}
        for key in ("betas", "momentum"):
            if getattr(self, key) is not None:
                found[key] = getattr(self, key)
        # an optimiser without weight decay must not be given any
        if self.weight_decay > 0:
            found["weight_decay"] = self.weight_decay
        return found


class ScheduleSpec(Config):
    """Linear warm-up, then decay to ``min_factor`` at the last step; or one cycle."""

    decay: Literal["poly", "cosine", "linear", "constant", "step", "one_cycle"] = "poly"
    """One of "poly" ((1 - t)^power), "cosine", "linear", "constant", "step" (times ``factor`` at
    each of ``milestones``) or "one_cycle" (Smith & Topin 2018: from ``start_factor`` up to the
    learning rate and down again, along cosines, as PyTorch's OneCycleLR; momentum stays).
    """
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises linearly from near zero; "one_cycle" has a rise of
    its own.
    """
    power: float = Field(default=0.9, gt=0)
    """Exponent of "poly"."""
    min_factor: float = Field(default=0.0, ge=0, lt=1)
    """Where the decay ends, as a share of the learning rate; "step" goes no lower."""
    milestones: tuple[Share, ...] = ()
    """Shares of the steps after warm-up, such as [0.6, 0.9], at which "step" lowers the rate."""
    factor: Share = 0.1
    """Factor of "step" on the learning rate at each milestone."""
    rise: Share = 0.3
    """Share of the steps over which "one_cycle" rises."""
    start_factor: Share = 0.04
    """Where "one_cycle" begins, as a share of the learning rate."""

    @model_validator(mode="after")
    def _has_its_milestones(self) -> Self:
        if bool(self.milestones) != (self.decay == "step"):
            raise ValueError(
                "milestones belong to decay: step, and to that alone; "
                f"decay is {self.decay} with milestones {list(self.milestones)}"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must rise, they are {list(self.milestones)}")
        if self.decay == "one_cycle" and self.warmup_steps:
            raise ValueError(
                "one_cycle has its own rise (schedule.rise); leave out "
                f"warmup_steps {self.warmup_steps}"
            )
        return self

    def check_steps(self, steps: int) -> None:
        """Check that a training of so many steps has room for warm-up or rise.

        Raises:
            ValueError: it has not.
        """
        if self.warmup_steps >= steps:
            raise ValueError(
                f"schedule.warmup_steps {self.warmup_steps} must be less than steps {steps}"
            )
        # the peak is reached at step rise · steps - 1, counted from 0
        if self.decay == "one_cycle" and not 1 < self.rise * steps < steps - 1:
            raise ValueError(
                f"schedule.rise {self.rise:g} of {steps} steps leaves no step to rise or to fall; "
                "allowed are shares of at least 2 steps and of at most all but 2"
            )


class EmaSpec(Config):
    """An exponential moving average of the weights (Polyak & Juditsky, 1992).

    It is evaluated and saved as the best in place of the weights, which go on learning.
    """

    kind: Literal["ema"]
    """Which average."""
    decay: Share = 0.9999
    """Share of the average that each step keeps: it covers about the last 1 / (1 - decay) steps."""
    warmup: int = Field(default=0, ge=0)
    """Steps after which averaging begins; until then the average is the weights themselves."""

    def check_steps(self, steps: int) -> None:
        """Check that averaging begins within a training of so many steps.

        Raises:
            ValueError: it does not.
        """
        if self.warmup >= steps:
            raise ValueError(f"average.warmup {self.warmup} must be less than steps {steps}")


class SwaSpec(Config):
    """Stochastic weight averaging (Izmailov et al., UAI 2018): the mean of the last weights.

    Once it has begun, it is evaluated and saved as the best in place of the weights, which go on
    learning. The statistics of BatchNorms that learn are then estimated on training images.
    """

    kind: Literal["swa"]
    """Which average."""
    start: float = Field(default=0.75, ge=0, lt=1)
    """Share of the steps after which averaging begins."""
    every: Annotated[int, Field(ge=1)] = 1
    """Steps from one state that enters the mean to the next."""

    def states(self, steps: int) -> range:
        """Return the steps whose weights enter the mean, of a training of so many steps."""
        return range(max(1, math.ceil(self.start * steps)), steps + 1, self.every)

    def check_steps(self, steps: int) -> None:
        """Check that two states or more enter the mean before the last evaluation.

        Raises:
            ValueError: there are fewer.
        """
        if len(self.states(steps)) < 2:
            raise ValueError(
                f"average.start {self.start:g} and every {self.every} leave one state to average "
                f"before the last of {steps} steps; begin earlier or average more often"
            )


class EarlyStoppingSpec(Config):
    """Training ends when a validation metric no longer rises; the schedule stays as it is."""

    metric: Metric | None = None
    """Which metric must rise; by default mIoU, or the accuracy of classification."""
    patience: Annotated[int, Field(ge=1)]
    """Evaluations without a rise after which training ends."""
    min_delta: float = Field(default=0.0, ge=0, lt=1)
    """How much more than the best so far counts as a rise, 0..1: 0.001 is 0.1 %."""

    def check_evaluations(self, evaluations: int) -> None:
        """Check that so many evaluations can end training early.

        Raises:
            ValueError: they cannot.
        """
        if self.patience >= evaluations:
            raise ValueError(
                f"early_stopping.patience {self.patience} needs more than {self.patience} "
                f"evaluations, but steps and evaluate_every give {evaluations}: it could never end "
                "training early"
            )


class CheckpointsSpec(Config):
    """Which states of the model are kept."""

    metric: Metric | None = None
    """The validation metric by which the best checkpoint is chosen; by default mIoU, or the
    accuracy of classification.
    """
    keep: Annotated[int, Field(ge=1)] = 1
    """How many of the best are kept. Those of 2 or more are checkpoints/step-N.pt, each as large
    as best.pt.
    """
