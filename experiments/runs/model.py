"""The segmenter of a run, new, trained, or as one that predicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from encoder_ablations.engine.inference.predictor import Member
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.batch_norm import check_images
from encoder_ablations.engine.training.blends import check_blends
from encoder_ablations.engine.training.checkpointing.averaging import check_average
from encoder_ablations.engine.training.checkpoints import load_checkpoint, load_model
from encoder_ablations.engine.training.private.checks import check_private_model
from encoder_ablations.experiments.runs.custom_code import refuse_other_code
from encoder_ablations.experiments.runs.record import best_step
from encoder_ablations.experiments.runs.spec import RunSpec, refuse_other_task
from encoder_ablations.experiments.runs.trained.run import TrainedRun
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_encoder_for, build_segmenter
from encoder_ablations.segmenters.class_weights import refuse_balanced, with_class_weights
from encoder_ablations.segmenters.references import check_texts
from encoder_ablations.segmenters.zero_shot.texts import give_texts
from encoder_ablations.utils.errors import InputError

Weighting = Literal["equal", "validation"]
"""How much the models of an ensemble count: all the same, or by their validation scores."""


def build_model(spec: RunSpec, class_pixels: Sequence[int] | None = None) -> Segmenter:
    """Return the run's segmenter with its initial weights.

    Args:
        spec: the run.
        class_pixels: of each class in the images that it is trained on, for balanced weights of
            classes; None for a model that will not be trained.

    Raises:
        InputError: encoder, head and recipe do not fit together, or weights or the text tower of
            a head that compares with texts cannot be loaded.
    """
    if spec.is_private:
        refuse_balanced(spec.segmenter)
    check_texts(spec.segmenter, spec.encoder)
    segmenter = _without_texts(spec, class_pixels)
    give_texts(segmenter, spec.encoder)
    return segmenter


def _without_texts(spec: RunSpec, class_pixels: Sequence[int] | None = None) -> Segmenter:
    """Return the segmenter as :func:`build_model` does; features of texts are still missing."""
    encoder = build_encoder_for(spec.segmenter, spec.encoder, spec.seed)
    classes = spec.dataset.classes
    settings = with_class_weights(spec.segmenter, classes, class_pixels)
    image_classes = len(spec.dataset.image_classes or ())
    segmenter = build_segmenter(settings, encoder, len(classes), spec.seed, image_classes)
    refuse_other_task(spec.segmenter.name, segmenter.head.task, spec.dataset)
    prepare_for(segmenter, spec.recipe, spec.encoder.title, spec.segmenter.name)
    return segmenter


def prepare_for(
    segmenter: Segmenter, recipe: Recipe, encoder: str = "of the model", head: str = "its head"
) -> None:
    """Make a segmenter round its maps as a recipe says, and check that it can be trained so.

    Args:
        segmenter: before training.
        recipe: how it will be trained.
        encoder: what messages call the encoder.
        head: what messages call the head.

    Raises:
        InputError: the recipe does not fit the encoder or the head.
    """
    if recipe.optimizer.layer_decay < 1 and segmenter.encoder.body.max_depth == 1:
        raise InputError(
            f"recipe.optimizer.layer_decay {recipe.optimizer.layer_decay:g} is per block, but "
            f"the encoder {encoder} does not say which parameters are in which block "
            "(depth_of and max_depth). Set it to 1."
        )
    segmenter.encoder.round_maps(recipe.feature_precision)
    if segmenter.encoder.map_dtype is not None and not segmenter.reads_features:
        raise InputError(
            f"recipe.feature_precision {recipe.feature_precision} rounds the body's maps, but "
            f"{head} reads the body itself. Use fp32."
        )
    if not segmenter.head.learns:
        return
    check_images(segmenter, recipe)
    check_blends(segmenter, recipe)
    check_average(segmenter, recipe)
    check_private_model(segmenter, recipe)


def load_best(folder: Path, spec: RunSpec, step: int | None) -> tuple[Segmenter, int]:
    """Return a run's model with its best weights, and the training step that they are of.

    Args:
        folder: of the run.
        spec: of the run.
        step: when the run's record says that the best checkpoint was saved; None = no record.

    Raises:
        InputError: there is no checkpoint, it is damaged or of another run, or the user's own code
            has changed.
    """
    refuse_other_code(spec, [folder])
    path = folder / "checkpoints" / "best.pt"
    checkpoint = load_checkpoint(path, spec.run_id, step)
    segmenter = _without_texts(_without_files(spec))
    load_model(segmenter, checkpoint["model"], path)
    return segmenter, checkpoint["step"]


def member_of(run: TrainedRun, device: torch.device, weighting: Weighting = "equal") -> Member:
    """Return a run's model with its best weights, and how it counts among others.

    Args:
        run: a finished run.
        device: where the model computes.
        weighting: "equal", or "validation": it counts by its best validation score.

    Raises:
        InputError: the checkpoint cannot be used, or there is no validation score to weight by.
    """
    own = run.record.spec
    segmenter, _ = load_best(run.folder, own, best_step(run.record))
    segmenter.class_names = own.dataset.classes
    weight = 1.0
    if weighting == "validation":
        if run.val_score is None:
            raise InputError(
                f"{run.record.run_id} has no validation score: no pixel of val is labelled. "
                "Use --weighting equal."
            )
        # a model that has learnt nothing at all still has a weight
        weight = max(run.val_score, 1e-6)
    short_side = own.recipe.augmentation.short_side
    return Member(segmenter.to(device).eval(), short_side, weight)


def _without_files(spec: RunSpec) -> RunSpec:
    """Return the run with random weights everywhere, so that none need be downloaded.

    The checkpoint replaces all of them, those of a second vision model and the features of texts,
    too.
    """
    encoder = spec.encoder.model_copy(update={"weights": "random"})
    changes: dict[str, object] = {"encoder": encoder}
    second = getattr(spec.segmenter, "vfm", None)
    if second is not None:
        changes["segmenter"] = spec.segmenter.model_copy(
            update={"vfm": {**second, "weights": "random"}}
        )
    return spec.model_copy(update=changes)
