"""What a reader must know to judge a run's number."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.batch_norm import images_per_statistic
from encoder_ablations.engine.training.description import about_training
from encoder_ablations.engine.training.private.statement import about_privacy, privacy_record
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.experiments.runs.custom_code import code_of
from encoder_ablations.experiments.runs.record_parts import DataRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tuning.spec import in_words
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.class_weights import balanced_losses
from encoder_ablations.segmenters.ops.official_operator import FAILED
from encoder_ablations.segmenters.references import CHANCE, is_chance
from encoder_ablations.utils.config import differences
from encoder_ablations.utils.texts import plural


def of_micro_batches(images: int, recipe: Recipe) -> str:
    """Return the sentence about a run whose BatchNorm saw ``images`` at a time.

    See :func:`images_per_statistic`.
    """
    return (
        f"BatchNorm's training statistics are of {plural(images, 'image')} each, not of the whole "
        f"batch of {recipe.batch_size} (recipe.accumulation {recipe.accumulation}): the result is "
        "not that of one large batch, and reports do not compare it with runs whose statistics are "
        "of other numbers of images."
    )


def warning_of_micro_batches(segmenter: Segmenter, spec: RunSpec) -> str | None:
    """Return what to say before a run whose BatchNorm will not see whole batches; None otherwise.

    Args:
        segmenter: the run's model; its weights do not matter.
        spec: the run.
    """
    images = images_per_statistic(segmenter, spec.recipe)
    if images is None:
        return None
    return (
        f"{spec.encoder.title} with {spec.segmenter.name}: "
        f"{of_micro_batches(images, spec.recipe)} recipe.accumulation=1 avoids that."
    )


def disclosures(
    spec: RunSpec,
    data: DataRecord,
    device: torch.device,
    progress: Progress,
    attention: Collection[str],
    environment: Mapping[str, Any],
    statistics: int | None = None,
) -> list[str]:
    """Return a sentence for every rule of a fair comparison that this run bends.

    Args:
        spec: the run.
        data: what it was trained and evaluated on.
        device: what computed it.
        progress: its evaluations by step.
        attention: what computed deformable attention, see ``RunRecord``.
        environment: what ``describe_environment`` gave during the run.
        statistics: ``RunRecord.images_per_statistic``.
    """
    if progress.step:
        found = [*_about_images(spec, data), *_about_start(spec), *_about_ignored_pixels(spec)]
        found += _about_unseen_classes(spec, data)
    else:
        found = [*_about_fit(spec, data), *_about_start(spec)]
    for name, digest in code_of(spec).items():
        found.append(
            f"{name} is code from outside of this package (SHA-256 of its file: {digest[:16]}…)."
        )
    if device.type == "cuda":
        found.append(_repeatability(bool(environment["deterministic_kernels"])))
    if progress.step:
        found += about_training(spec.recipe, progress)
        found += about_privacy(privacy_record(spec.recipe, progress, data.n_train))
        found += _about_precision(spec.recipe.precision, device)
    if statistics is not None:
        found.append(of_micro_batches(statistics, spec.recipe))
    if FAILED in attention:
        found.append(
            "Deformable attention failed and the official code went on with its slow path: "
            "costs are not comparable."
        )
    return found


def _about_images(spec: RunSpec, data: DataRecord) -> list[str]:
    if spec.recipe.overfit:
        return [
            "Trained and evaluated on the same few images (overfit mode): the score says only that "
            "it learns."
        ]
    if spec.is_trial:
        return ["A trial of tuning: it is judged on validation images and chosen by them."]
    if data.report_split == "val":
        return [
            "The dataset has no test split: the checkpoint is chosen and reported on the same "
            "images."
        ]
    return []


def _about_fit(spec: RunSpec, data: DataRecord) -> list[str]:
    """Say what a head that does not learn by gradients was given."""
    if not data.n_train:
        return ["The head needs no labels: no training image was read, and nothing was trained."]
    images = plural(data.n_learned, "training image")
    found = [f"The head read {images} once, without gradients; nothing was trained."]
    if spec.recipe.overfit:
        found.append("It was evaluated on the same few images (overfit mode).")
    return found


def _about_start(spec: RunSpec) -> list[str]:
    found = _about_tuning(spec)
    if spec.study_recipe is not None and not found:
        studys, own = (
            recipe.model_dump(mode="json") for recipe in (spec.study_recipe, spec.recipe)
        )
        changes = "; ".join(differences(studys, own))
        found.append(f"Trained with a recipe of its own (the study's → this encoder's): {changes}.")
    if spec.encoder.weights == "random":
        found.append(
            "The encoder started from random weights: this measures the architecture, not "
            "pretraining."
        )
    if is_chance(spec.segmenter, spec.encoder):
        found.append(CHANCE)
    return found


def _about_tuning(spec: RunSpec) -> list[str]:
    """Say by how many trials the values of a recipe were chosen, and what they are."""
    if spec.tuning is None or spec.tuning.chosen_by is None:
        return []
    tune = spec.tuning.chosen_by
    trials = plural(tune.number, "trial")
    return [
        f"Tuned: {in_words(spec.tuning.values)}, the best of {trials} on validation images, each "
        f"trained with {plural(tune.seeds, 'seed')} of its own. It is not compared "
        "with runs that were not tuned."
    ]


def _about_ignored_pixels(spec: RunSpec) -> list[str]:
    official = spec.segmenter.name == "mask2former_official"
    if official or getattr(spec.segmenter, "ignored_pixels", None) == "negative":
        return [
            "Ignored pixels count as background in the mask loss, as in the official Mask2Former."
        ]
    return []


def _about_unseen_classes(spec: RunSpec, data: DataRecord) -> list[str]:
    """Name the classes whose balanced weight is 0, because no training image shows them."""
    classes = zip(data.class_names, data.class_pixels, strict=True)
    unseen = [name for name, pixels in classes if not pixels]
    if not unseen:
        return []
    return [
        f"The loss {loss} has balanced class weights. No training image shows "
        f"{', '.join(unseen)}, so that the weight is 0 there."
        for loss in balanced_losses(spec.segmenter)
    ]


def _repeatability(deterministic: bool) -> str:
    """Say what a repetition of the run on the same GPU would give."""
    if deterministic:
        return (
            "Computed on a GPU with deterministic kernels (--deterministic), which exist for most "
            "operations, not for all: repeating the run may give slightly different numbers."
        )
    return (
        "Computed on a GPU without deterministic kernels: repeating the run gives slightly "
        "different numbers. --deterministic asks for them."
    )


def _about_precision(precision: str, device: torch.device) -> list[str]:
    if precision == "fp32":
        return []
    if precision != "tf32":
        return [f"Trained in {precision} mixed precision; evaluated in float32."]
    if device.type == "cuda":
        return ["Trained with TF32 in matrix products and convolutions; evaluated in true float32."]
    return [
        "TF32 was asked for, which the CPU does not have: trained and evaluated in true float32."
    ]
