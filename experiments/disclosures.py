"""What a reader must know to judge a run's number."""

from collections.abc import Collection

import torch

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.state import Progress
from encoder_ablations.experiments.run_record import DataRecord
from encoder_ablations.experiments.run_spec import RunSpec
from encoder_ablations.segmenters.official_operator import FAILED
from encoder_ablations.utils.config import differences
from encoder_ablations.utils.wording import plural


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
    attention: Collection[str] = (),
    statistics: int | None = None,
) -> list[str]:
    """One sentence for every rule of a fair comparison that this run bends, or that limits what it says.

    Args:
        attention: what computed deformable attention, see ``RunRecord``.
        statistics: ``RunRecord.images_per_statistic``.
    """
    found = []
    if spec.recipe.overfit:
        found.append("Trained and evaluated on the same few images (overfit mode): the score says only that it learns.")
    elif data.report_split == "val":
        found.append("The dataset has no test split: the checkpoint is chosen and reported on the same images.")
    if spec.study_recipe is not None:
        own = differences(spec.study_recipe.model_dump(mode="json"), spec.recipe.model_dump(mode="json"))
        found.append(f"Trained with a recipe of its own (the study's → this encoder's): {'; '.join(own)}.")
    if spec.encoder.weights == "random":
        found.append("The encoder started from random weights: this measures the architecture, not pretraining.")
    if getattr(spec.segmenter, "ignored_pixels", None) == "negative" or spec.segmenter.name == "mask2former_official":
        found.append("Ignored pixels count as background in the mask loss, as in the official Mask2Former.")
    if device.type == "cuda":
        found.append(
            "Computed on a GPU, where some kernels have no deterministic version: repeating the run gives slightly "
            "different numbers."
        )
    if progress.best_step == spec.recipe.steps:
        found.append("Validation mIoU was highest at the last step: longer training may still raise the score.")
    if spec.recipe.precision != "fp32":
        found.append(f"Trained in {spec.recipe.precision} mixed precision; evaluated in float32.")
    if statistics is not None:
        found.append(of_micro_batches(statistics, spec.recipe))
    if FAILED in attention:
        found.append(
            "Deformable attention failed and the official code went on with its slow path: costs are not comparable."
        )
    return found
