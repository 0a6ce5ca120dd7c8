"""The sections of a recipe: optimiser and schedule."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, model_validator

from encoder_ablations.engine.optimizers import ADAMW, check_arguments, optimizer_class
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.errors import InputError

Average = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
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
