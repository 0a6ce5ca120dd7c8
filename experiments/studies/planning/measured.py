"""What was measured of a study's models on a machine, and its file ``plan.json``."""

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.kinds import kind_key
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_json

PLAN_FILE = "plan.json"
CACHE_BYTES = 2**30
"""Decoded images of a split that a run keeps in memory, at most."""


class Measured(BaseModel):
    """What some real steps of one encoder and head took; seconds and bytes.

    Attributes:
        step: of an optimiser step.
        fit: of each training image, for a head that does not learn by gradients.
        predict: of predicting an image whose file has been read.
        read: of reading and decoding an image with its mask.
        start: of building the model.
        cost: of measuring its FLOPs and latency.
        save: of writing a checkpoint.
        memory: the largest of a training step, as records have it.
        decoded: of an image with its mask in memory.
        best: of the best checkpoint.
        last: of the checkpoint that training goes on from.
        body: of the file with the weights of a fixed body; 0 without one.
        features: of the features of an image that are kept on disk; 0 if none are.
        train, val, report: images of the split.
        largest_batch: that fits on the GPU; None = not measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: float = 0.0
    fit: float = 0.0
    predict: float
    read: float
    start: float
    cost: float
    save: float = 0.0
    memory: int
    decoded: int
    best: int
    last: int = 0
    body: int = 0
    features: int = 0
    train: int
    val: int
    report: int
    largest_batch: int | None = None

    def seconds(self, spec: RunSpec) -> float:
        """Return what a run of this kind takes from its start to its record."""
        evaluated = self.report * (self.predict + self.read)
        if spec.is_trial:
            # a trial is judged on validation images, which are in memory by then
            evaluated = self.val * self.predict
        images = self.training_images(spec)
        if spec.segmenter.learning != "steps":
            return self.start + images * (self.fit + self.read) + evaluated + self.cost
        recipe = spec.recipe
        seen = min(images, recipe.steps * recipe.batch_size)
        evaluations = math.ceil(recipe.steps / recipe.evaluate_every)
        training = recipe.steps * self.step + seen * self.read
        # validation images are read from their files once
        validation = evaluations * (self.val * self.predict + self.save) + self.val * self.read
        return self.start + training + validation + evaluated + self.cost

    def training_images(self, spec: RunSpec) -> int:
        """Return the number of images that a run of this kind learns from."""
        if not spec.fraction:
            return 0
        if spec.pseudo_labels is not None:
            return self.train
        return max(1, round(spec.fraction * self.train))

    @property
    def all_features(self) -> int:
        """Return the bytes of the features of all images."""
        return self.features * (self.train + self.val + self.report)

    def peak_memory(self, spec: RunSpec, on_gpu: bool) -> int:
        """Return the bytes that a run needs at most, on the GPU or in this process."""
        if on_gpu:
            return self.memory
        # images that are read later stay in memory, too
        kept = [self.training_images(spec), self.val]
        return self.memory + sum(min(CACHE_BYTES, images * self.decoded) for images in kept)


class SavedPlan(BaseModel):
    """The file ``plan.json`` of a study's folder.

    Attributes:
        device: that it was measured on, in words.
        on_gpu: whether that is a GPU.
        kinds: what was measured, by :func:`kind_key`.
        seconds: run id -> seconds that were planned before the run began.
        downloads: what must be downloaded -> bytes; None = not known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    on_gpu: bool
    kinds: dict[str, Measured] = {}
    seconds: dict[str, float] = {}
    downloads: dict[str, int | None] = {}

    def of(self, spec: RunSpec) -> Measured | None:
        """Return what was measured of a run's kind; None if nothing was."""
        return self.kinds.get(kind_key(spec))


def read_plan(folder: Path) -> SavedPlan | None:
    """Return the plan of a study's folder; None if there is none.

    Raises:
        InputError: its file is damaged.
    """
    path = folder / PLAN_FILE
    try:
        return SavedPlan.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise InputError(
            f"{path} cannot be read as a plan. Delete it and repeat ablate plan."
        ) from error


def write_plan(plan: SavedPlan, folder: Path) -> Path:
    """Write ``plan.json`` and return its path."""
    path = folder / PLAN_FILE
    write_json(path, plan.model_dump(mode="json"))
    return path
