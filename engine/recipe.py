"""How a model is trained and evaluated: what is held fixed while encoders vary."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.engine.privacy import PrivacySpec
from encoder_ablations.engine.recipe_parts import (
    CheckpointsSpec,
    EarlyStoppingSpec,
    EmaSpec,
    OptimizerSpec,
    ScheduleSpec,
    SwaSpec,
)
from encoder_ablations.utils.config import Config, at_most

Positive = Annotated[int, Field(ge=1)]
Steps = Annotated[Positive, at_most(10**8, "more steps take months on any machine")]
Batch = Annotated[Positive, at_most(16384, "all its images lie in memory at the same time")]


class Recipe(Config):
    """Everything about training that is the same for all encoders of a study."""

    steps: Steps = 20000
    """Optimiser steps."""
    batch_size: Batch = 16
    """Images per optimiser step, over all processes and accumulation steps together."""
    accumulation: Positive = 1
    """Micro-batches per optimiser step and process. A BatchNorm that learns has their statistics,
    not the batch's: such runs are compared only with each other.
    """
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Precision of training. "bf16" and "fp16" are mixed precision. "fp32" is true float32 on every
    device; "tf32" lets GPUs round the factors of matrix products and convolutions to 10 bits of
    fraction, and is the same as "fp32" on the CPU. Evaluation and latency are always in true
    float32.
    """
    augmentation: AugmentationSpec = AugmentationSpec()
    """The joint image-mask transforms."""
    optimizer: OptimizerSpec = OptimizerSpec()
    """Which optimiser, and its settings."""
    schedule: ScheduleSpec = ScheduleSpec()
    """How the learning rate rises and decays."""
    average: Annotated[EmaSpec | SwaSpec, Field(discriminator="kind")] | None = None
    """Weights averaged over steps, {kind: ema} or {kind: swa}; None = the last step's weights."""
    early_stopping: EarlyStoppingSpec | None = None
    """When training ends before the last step, such as {patience: 5}; None = never."""
    checkpoints: CheckpointsSpec = CheckpointsSpec()
    """Which states of the model are kept."""
    evaluate_every: Positive = 2000
    """Steps between evaluations on the validation split; the last step is always evaluated."""
    overfit: int = Field(default=0, ge=0)
    """When > 0, train and evaluate on this many training images only: a check that learning works
    at all.
    """
    feature_precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision to which a frozen body's maps are rounded before neck and head read them, in
    training and in evaluation: "fp32" (as computed), or "bf16" or "fp16", which need half the space
    on disk.
    """
    pos_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of the training samples that show the object, in a dataset of two classes of which the
    first is the background; each epoch mixes others in accordingly. None = as the dataset has them.
    """

    compile: bool = Field(default=False, exclude_if=lambda compiled: not compiled)
    """Whether ``torch.compile`` makes fewer kernels of the layers that repeat. Losses differ in
    their last digits. Evaluation computes as without it. It needs a C++ compiler on the CPU.
    """

    privacy: PrivacySpec | None = Field(default=None, exclude_if=lambda spec: spec is None)
    """Private training, such as {epsilon: 3}; null = off. What it promises: docs/private.md."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of "
                f"accumulation {self.accumulation}"
            )
        self.schedule.check_steps(self.steps)
        if self.average is not None:
            self.average.check_steps(self.steps)
        if self.early_stopping is not None:
            self.early_stopping.check_evaluations(math.ceil(self.steps / self.evaluate_every))
        return self

    @model_validator(mode="after")
    def _fits_private_training(self) -> "Recipe":
        if self.privacy is None:
            return self
        augmentation = self.augmentation
        # setting -> whether it is used, and why it cannot be
        refused = {
            "accumulation": (
                self.accumulation > 1,
                "every image is a pass of its own already; set it to 1",
            ),
            "precision fp16": (
                self.precision == "fp16",
                "its loss scaling skips steps by what images hold; use bf16 or fp32",
            ),
            "compile": (self.compile, "gradients of single images are computed layer by layer"),
            "augmentation.mix": (augmentation.mix is not None, "it shows two images in one"),
            "augmentation.class_balance": (
                augmentation.class_balance is not None,
                "it follows from the private masks",
            ),
            "pos_ratio": (self.pos_ratio is not None, "it follows from the private masks"),
            "overfit": (self.overfit > 0, "it reports a score of the private images"),
        }
        for key, (used, reason) in refused.items():
            if used:
                raise ValueError(f"{key} does not go with privacy: {reason}")
        return self
