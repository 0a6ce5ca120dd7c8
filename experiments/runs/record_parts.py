"""The parts of a run's record."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from encoder_ablations.engine.cost.model_cost import ModelCost


class Part(BaseModel):
    """A part of a record: it cannot be changed, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ThresholdRecord(Part):
    """A confidence threshold that was chosen on the validation images.

    Attributes:
        threshold: the lowest one with the wanted precision, 0..1.
        precision: share of the kept pixels whose class is right, 0..1.
        share_of_pixels: share of the labelled pixels that are kept, 0..1.
        n_pixels: labelled pixels of the validation images.
        thresholds, precisions, shares_of_pixels: the same of every threshold that keeps a pixel.
    """

    threshold: float
    wanted_precision: float
    precision: float
    share_of_pixels: float
    n_pixels: int
    thresholds: list[float]
    precisions: list[float]
    shares_of_pixels: list[float]


class PseudoLabelsRecord(Part):
    """Training images whose masks a finished run predicted.

    Attributes:
        share_of_pixels: 0..1, of their pixels that reached the threshold; the others are ignored.
        masks_sha256: of all these masks.
        chosen: the threshold, where validation images gave it; None = the study states it.
    """

    n_images: int
    share_of_pixels: float
    masks_sha256: str
    chosen: ThresholdRecord | None = Field(default=None, exclude_if=lambda each: each is None)


class DataRecord(Part):
    """What was trained and evaluated on.

    Attributes:
        train_ids_sha256: of the names of the training images, those without labels not included.
        train_masks_sha256: also of how many pixels of each class their masks hold, so that it
            changes when labels do.
        n_train: training images with labels.
        class_pixels: pixels of each class in the masks of the training images.
        report_split: "test" where the dataset has one.
        dataset_sha256: changes with anything in any split: names, sizes of images' files, the class
            of a pixel.
        pseudo_labels: training images without labels; None = they were not used.
    """

    train_ids_sha256: str
    train_masks_sha256: str
    n_train: int
    n_val: int
    n_test: int | None
    fraction: float
    class_names: list[str]
    class_pixels: list[int]
    colors: list[tuple[int, int, int]]
    report_split: Literal["val", "test", "train"]
    dataset_sha256: str
    pseudo_labels: PseudoLabelsRecord | None = Field(
        default=None, exclude_if=lambda each: each is None
    )

    @property
    def n_learned(self) -> int:
        """Return the number of training images, with those that have predicted masks."""
        if self.pseudo_labels is None:
            return self.n_train
        return self.n_train + self.pseudo_labels.n_images

    @property
    def predicted_masks(self) -> str | None:
        """Return the SHA-256 of the predicted masks; None if there are none."""
        if self.pseudo_labels is None:
            return None
        return self.pseudo_labels.masks_sha256


class CurvesRecord(Part):
    """Training loss and validation metrics by step.

    Without training steps there is no loss, and one evaluation, at step 0.

    Attributes:
        loss: mean of the steps up to ``loss_steps[i]`` since the entry before.
        terms: where several losses are added, the same of each, by name.
        val_score: the task's main metric of the evaluations at ``val_steps``, 0..1; None where no
            pixel is labelled.
        val_metrics: the other metrics of the evaluations at ``val_steps``, by name.
        epsilon: of private training, what had been spent by then.
    """

    loss_steps: list[int]
    loss: list[float]
    terms: dict[str, list[float]] = {}
    val_steps: list[int]
    val_score: list[float | None]
    val_metrics: dict[str, list[float | None]] = {}
    epsilon: list[float] = Field(default=[], exclude_if=lambda spent: not spent)


class ConvergenceRecord(Part):
    """When validation was best, and when the main metric first reached 95 % of its value there.

    Attributes:
        steps: that training took, fewer than the recipe's where it ended early.
        stopped: why it ended early; None where it did not.
        metric: of validation, by which the best checkpoint was chosen.
        kept_steps: whose checkpoints are kept beside the best one, best first.
        best_val_score: the task's main metric at ``best_step``.
    """

    steps: int
    stopped: str | None = None
    metric: str = "miou"
    kept_steps: list[int] = []
    best_step: int
    best_val_score: float | None
    step_to_95_percent: int | None
    epochs_to_95_percent: float | None
    epochs: float


class CostRecord(ModelCost):
    """What the model costs, and what its training took.

    Attributes:
        images_per_second: of the batch size that gives most.
        peak_memory_bytes, peak_memory_of: the most memory that training held, and what that is:
            on which device, in which phase, and of how many processes the largest.
    """

    images_per_second: float
    train_seconds: float
    peak_memory_bytes: int
    peak_memory_of: str = ""


class ErrorRecord(Part):
    """The exception that ended a run."""

    type: str
    message: str
    traceback: str
    """Empty for bad input, whose message says all."""

    @property
    def line(self) -> str:
        """``type: message`` in one line; the message alone for bad input."""
        message = " ".join(self.message.split())
        if not self.traceback:
            return message
        return f"{self.type}: {message}"

    @property
    def text(self) -> str:
        """The line, and the traceback below it if there is one."""
        return f"{self.line}\n{self.traceback}".strip()
