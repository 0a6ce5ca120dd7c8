"""What a reader must know to judge a run's number."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.experiments.runs.record import DataRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.ops.official_operator import FAILED
from encoder_ablations.utils.config import differences
from encoder_ablations.utils.texts import plural


def of_micro_batches(images: int, recipe: Recipe) -> str:
    """The sentence about a run whose BatchNorm saw ``images`` at a time, see :func:`images_per_statistic`."""
    return (
        f"BatchNorm's training statistics are of {plural(images, 'image')} each, not of the whole batch of "
        f"{recipe.batch_size} (recipe.accumulation {recipe.accumulation}): the result is not that of one large batch, "
        "and reports do not compare it with runs whose statistics are of other numbers of images."
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
    """One sentence for every rule of a fair comparison that this run bends, or that limits what it says.

    Args:
        attention: what computed deformable attention, see ``RunRecord``.
        environment: what ``describe_environment`` gave during the run.
        statistics: ``RunRecord.images_per_statistic``.
    """
    found = []
    if spec.recipe.overfit:
        found.append(
            "Trained and evaluated on the same few images (overfit mode): the score says only that it learns."
        )
    elif data.report_split == "val":
        found.append(
            "The dataset has no test split: the checkpoint is chosen and reported on the same images."
        )
    if spec.study_recipe is not None:
        own = differences(
            spec.study_recipe.model_dump(mode="json"), spec.recipe.model_dump(mode="json")
        )
        found.append(
            f"Trained with a recipe of its own (the study's → this encoder's): {'; '.join(own)}."
        )
    if spec.encoder.weights == "random":
        found.append(
            "The encoder started from random weights: this measures the architecture, not pretraining."
        )
    if (
        getattr(spec.segmenter, "ignored_pixels", None) == "negative"
        or spec.segmenter.name == "mask2former_official"
    ):
        found.append(
            "Ignored pixels count as background in the mask loss, as in the official Mask2Former."
        )
    if device.type == "cuda":
        found.append(_repeatability(bool(environment["deterministic_kernels"])))
    if progress.best_step == spec.recipe.steps:
        found.append(
            "Validation mIoU was highest at the last step: longer training may still raise the score."
        )
    if spec.recipe.precision == "tf32":
        found.append(_tensor_float32(device))
    elif spec.recipe.precision != "fp32":
        found.append(f"Trained in {spec.recipe.precision} mixed precision; evaluated in float32.")
    if statistics is not None:
        found.append(of_micro_batches(statistics, spec.recipe))
    if FAILED in attention:
        found.append(
            "Deformable attention failed and the official code went on with its slow path: costs are not comparable."
        )
    return found


def _repeatability(deterministic: bool) -> str:
    """What a repetition of the run on the same GPU would give."""
    if deterministic:
        return (
            "Computed on a GPU with deterministic kernels (--deterministic), which exist for most operations, not for "
            "all: repeating the run may give slightly different numbers."
        )
    return (
        "Computed on a GPU without deterministic kernels: repeating the run gives slightly different numbers. "
        "--deterministic asks for them."
    )


def _tensor_float32(device: torch.device) -> str:
    """What became of the wish for TF32."""
    if device.type == "cuda":
        return "Trained with TF32 in matrix products and convolutions; evaluated in true float32."
    return "TF32 was asked for, which the CPU does not have: trained and evaluated in true float32."
