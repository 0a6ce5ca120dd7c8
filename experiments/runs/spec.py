"""A run: everything that decides its result, and the name that follows from it."""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import Field, model_validator

from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import OF_CLASSIFICATION
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.runs.tuning.spec import TuningRole
from encoder_ablations.segmenters.facts import read_facts
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.errors import InputError

LONGEST_SLUG = 180
MOST_SEEDS = 2**32

NO_PRIVACY = "none"
"""What the privacy of a run without any is called."""


class RunSpec(Config):
    """One (encoder, segmenter, dataset, fraction, seed, recipe)."""

    encoder: EncoderSpec
    segmenter: SegmenterSpec
    dataset: DatasetSpec
    fraction: float = Field(default=1.0, ge=0, le=1)
    """Share of the training images that is used, 0..1; subsets of one seed are nested. It is 0 for
    a head that needs no labels, and for no other.
    """
    seed: int = Field(default=0, ge=0, lt=MOST_SEEDS)
    """Decides the subset, the data order, the augmentation and all initial weights that are not
    loaded.
    """
    recipe: Recipe = Recipe()
    federation: FederationSpec | None = Field(default=None, exclude_if=lambda each: each is None)
    """Clients that train on images which stay with them; null = central training."""
    pseudo_labels: PseudoLabelSpec | None = Field(
        default=None, exclude_if=lambda each: each is None
    )
    """The run that predicts masks for training images that ``fraction`` leaves out; null = none."""
    detectron2: dict[str, Any] | None = None
    """None for a run of our own engine. Otherwise ``train_net.py`` trained it, and this is what
    else its Detectron2 configuration says; ``recipe`` then is a translation, as near as its terms
    allow.
    """
    study_recipe: Recipe | None = None
    """The recipe of the study's other encoders, where this one's differs; reports disclose it."""

    tuning: TuningRole | None = Field(default=None, exclude_if=lambda each: each is None)
    """What the run is for in a study that tunes settings; null in other studies."""

    @model_validator(mode="after")
    def _rounds_only_what_is_frozen(self) -> "RunSpec":
        if self.recipe.feature_precision != "fp32" and self.encoder.freeze != "body":
            raise ValueError(
                f"recipe.feature_precision {self.recipe.feature_precision} rounds what a frozen "
                f"body gives, but encoder.freeze is {self.encoder.freeze}; write freeze: body, or "
                "feature_precision: fp32"
            )
        return self

    @model_validator(mode="after")
    def _head_fits_the_task(self) -> "RunSpec":
        head = read_facts().get(self.segmenter.name)
        if head is not None:
            refuse_other_task(self.segmenter.name, head.task, self.dataset)
        return self

    @model_validator(mode="after")
    def _recipe_fits_the_task(self) -> "RunSpec":
        _refuse_other_recipe(self.recipe, self.dataset)
        _refuse_image_head(self.segmenter, self.dataset, self.recipe)
        return self

    @model_validator(mode="after")
    def _recipe_fits_the_clients(self) -> "RunSpec":
        if self.federation is None:
            return self
        if self.detectron2 is not None:
            raise ValueError("federation is for our own loop; Detectron2's has no clients")
        _refuse_clients(self.federation, self.recipe)
        self.federation.check_steps(self.recipe.steps, self.recipe.evaluate_every)
        return self

    @model_validator(mode="after")
    def _pseudo_labels_fit(self) -> "RunSpec":
        if self.pseudo_labels is not None:
            _refuse_pseudo_labels(self)
        return self

    @property
    def is_trial(self) -> bool:
        """Whether the run is a trial of tuning, which is judged on validation images alone."""
        return self.tuning is not None and self.tuning.role == "trial"

    @property
    def steps(self) -> int:
        """Training steps of the run: those of its recipe, or 0 where the head does not learn."""
        if self.segmenter.learning == "steps":
            return self.recipe.steps
        return 0

    @property
    def has_rounds(self) -> bool:
        """Whether several clients train it in rounds."""
        return self.federation is not None and not self.federation.is_local

    @property
    def is_private(self) -> bool:
        """Whether images or clients are protected, so that nothing may follow from all masks."""
        clients = self.federation is not None and self.federation.privacy is not None
        return clients or self.recipe.privacy is not None

    @property
    def privacy_title(self) -> str:
        """What the run promises about its images or clients, such as "eps3", or "none"."""
        if self.recipe.privacy is not None:
            return self.recipe.privacy.title
        if self.federation is not None and self.federation.privacy is not None:
            return f"private clients {self.federation.privacy.title}"
        return NO_PRIVACY

    @property
    def run_id(self) -> str:
        """Readable slug and a hash of the resolved spec: equal specs, equal ids."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        percent = f"{self.fraction * 100:g}pct"
        words = [
            self.encoder.title,
            self.segmenter.title,
            self.dataset.name,
            percent,
            f"seed{self.seed}",
        ]
        if self.recipe.privacy is not None:
            words.append(self.recipe.privacy.title)
        if self.federation is not None:
            words.append(self.federation.title)
        if self.pseudo_labels is not None:
            words.append(f"pseudo{self.pseudo_labels.short_title}")
        if self.tuning is not None:
            words.append({"trial": "trial", "report": "tuned"}[self.tuning.role])
        name = slug(words)[:LONGEST_SLUG]  # file systems hold names of 255 bytes
        return f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"


def slug(words: Iterable[str]) -> str:
    """Return words as they stand in run ids: letters, digits and dots, joined by dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-")


def _refuse_other_recipe(recipe: Recipe, dataset: DatasetSpec) -> None:
    """Refuse metrics of the other task, and samples that are mixed by their masks.

    Args:
        recipe: how runs are trained.
        dataset: what they are trained on.

    Raises:
        InputError: one of them does not fit.
    """
    whole_images = dataset.task == "classification"
    chosen = {"checkpoints.metric": recipe.checkpoints.metric}
    if recipe.early_stopping is not None:
        chosen["early_stopping.metric"] = recipe.early_stopping.metric
    for key, metric in chosen.items():
        if metric is not None and (metric in OF_CLASSIFICATION) != whole_images:
            raise InputError(
                f"recipe.{key}: {metric} is not computed for {dataset.task}, which is the task of "
                f"the dataset '{dataset.name}'. Leave it out for the task's main metric."
            )
    mix = recipe.augmentation.mix
    if whole_images and mix is not None and mix.kind != "mixup":
        raise InputError(
            f"recipe.augmentation.mix: {mix.kind} mixes masks, and the dataset '{dataset.name}' is "
            "for classification. Use mixup."
        )


def _refuse_pseudo_labels(spec: RunSpec) -> None:
    """Refuse predicted masks where they cannot be used, or would need the labels that are missing.

    Raises:
        InputError: what does not go with them.
    """
    if not 0 < spec.fraction < 1:
        raise InputError(
            f"pseudo_labels is for images that a fraction leaves without labels, and fraction is "
            f"{spec.fraction:g}. Choose one between 0 and 1."
        )
    if spec.dataset.task == "classification":
        raise InputError(
            f"pseudo_labels are masks, and the dataset '{spec.dataset.name}' is for "
            "classification. Leave them out."
        )
    others = {
        "detectron2": spec.detectron2 is not None,
        "federation": spec.federation is not None,
        "recipe.privacy": spec.recipe.privacy is not None,
        "recipe.overfit": bool(spec.recipe.overfit),
        "recipe.pos_ratio": spec.recipe.pos_ratio is not None,
        "segmenter.image_head": getattr(spec.segmenter, "image_head", None) is not None,
    }
    for key, given in others.items():
        if given:
            raise InputError(
                f"pseudo_labels does not go with {key}, which is about images with labels only. "
                "Leave out one of the two."
            )


def _refuse_clients(federation: FederationSpec, recipe: Recipe) -> None:
    """Refuse a recipe that clients cannot be trained by.

    Raises:
        InputError: it is private, averages over steps or overfits, or a client alone has no number.
    """
    if recipe.overfit:
        raise InputError(
            f"recipe.overfit {recipe.overfit} trains on a few images, and federation divides them "
            "among clients. Leave out one of the two."
        )
    if federation.is_local and federation.alone is None:
        raise InputError(
            "federation.algorithm local needs the client of this run, such as {kind: local, "
            "client: 0}; a study may leave it out."
        )
    if recipe.privacy is not None and not federation.is_local:
        raise InputError(
            "recipe.privacy protects the images of one training, and the clients of a federation "
            "train without it. Leave out one of the two."
        )
    if recipe.average is not None and not federation.is_local:
        raise InputError(
            f"recipe.average {recipe.average.kind} averages the weights after each step, but in a "
            "federation the server has weights after each round only. Leave it out."
        )


def refuse_other_task(head: str, task: Task, dataset: DatasetSpec) -> None:
    """Refuse a head for another task than the dataset's.

    Args:
        head: its name.
        task: what it predicts.
        dataset: what it would be trained on.

    Raises:
        InputError: the tasks differ.
    """
    if task == dataset.task:
        return
    way_out = {
        "classification": "Choose the head classifier, or a dataset with masks",
        "segmentation": "Choose another head, or a dataset with task: classification",
    }
    raise InputError(
        f"the head {head} is for {task}, but the dataset '{dataset.name}' is for {dataset.task}. "
        f"{way_out[dataset.task]}."
    )


def _refuse_image_head(segmenter: SegmenterSpec, dataset: DatasetSpec, recipe: Recipe) -> None:
    """Refuse a head for the class of the whole image where it cannot learn.

    Args:
        segmenter: may have ``image_head``.
        dataset: what it would be trained on.
        recipe: how.

    Raises:
        InputError: images of the dataset have no classes, or the recipe mixes images.
    """
    if getattr(segmenter, "image_head", None) is None:
        return
    if dataset.image_classes is None:
        raise InputError(
            f"segmenter.image_head learns the class of the whole image, but the images of the "
            f"dataset '{dataset.name}' have none beside masks. Add labels and image_classes to its "
            "YAML, or leave image_head out."
        )
    mix = recipe.augmentation.mix
    if mix is not None:
        raise InputError(
            f"recipe.augmentation.mix: {mix.kind} shows two images in one, but "
            "segmenter.image_head learns one class of each. Leave out one of the two."
        )
