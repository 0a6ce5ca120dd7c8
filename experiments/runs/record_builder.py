"""The record of a run that has ended, from its result, its curves and its model's cost."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from encoder_ablations.encoders.adaptation import merge_adapters
from encoder_ablations.engine.cost.measure import count_parameters
from encoder_ablations.engine.cost.model_cost import ModelCost
from encoder_ablations.engine.cost.regions import measure_with_regions
from encoder_ablations.engine.evaluation.evaluate import Evaluation
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.batch_norm import images_per_statistic
from encoder_ablations.engine.training.private.statement import privacy_record
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.experiments.runs.custom_code import code_of
from encoder_ablations.experiments.runs.disclosures import disclosures
from encoder_ablations.experiments.runs.encoder_facts import (
    about_encoder,
    encoder_facts,
    second_model_facts,
)
from encoder_ablations.experiments.runs.metrics_record import image_classes_record, task_metrics
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.record_parts import (
    ConvergenceRecord,
    CostRecord,
    CurvesRecord,
    DataRecord,
)
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.class_weights import class_weights_of
from encoder_ablations.segmenters.zero_shot.texts import facts_of_texts
from encoder_ablations.utils.clock import now


def finished_record(
    spec: RunSpec,
    data: DataRecord,
    segmenter: Segmenter,
    progress: Progress,
    result: Evaluation,
    started: str,
    environment: dict[str, Any],
    further: Sequence[str] = (),
) -> RunRecord:
    """Measure the cost of a trained run and return its record.

    Args:
        spec: the run.
        data: what it was trained and evaluated on.
        segmenter: with its best weights.
        progress: its curves, time and memory.
        started: when it was begun.
        environment: what computed it, see ``describe_environment``.
        result: what its best weights gave on the split that is reported.
        further: disclosures besides those that follow from the other arguments.
    """
    attention = sorted(segmenter.head.attention_paths())
    statistics = images_per_statistic(segmenter, spec.recipe)
    device = segmenter.mean.device
    about_run = disclosures(spec, data, device, progress, attention, environment, statistics)
    return RunRecord(
        run_id=spec.run_id,
        status="finished",
        spec=spec,
        started=started,
        finished=now(),
        environment=environment,
        data=data,
        task=spec.dataset.task,
        metrics=task_metrics(spec.dataset.task, result.confusion, spec.dataset.classes),
        confusion_matrix=result.confusion.counts.tolist(),
        image_classes=image_classes_record(result.image_classes, spec.dataset.image_classes),
        curves=curves_record(progress),
        convergence=convergence_record(progress, spec.recipe, data.n_learned),
        cost=cost_record(segmenter, spec, progress, [each.image for each in result.pictures]),
        encoder=_facts(segmenter, spec, data),
        pictures=[picture.id for picture in result.pictures],
        deformable_attention=attention,
        images_per_statistic=statistics,
        class_weights=class_weights_of(spec.segmenter, data.class_names, data.class_pixels),
        code=code_of(spec),
        privacy=privacy_record(spec.recipe, progress, data.n_train),
        disclosures=[*about_run, *about_encoder(segmenter.encoder, spec.encoder.weights), *further],
    )


def _facts(segmenter: Segmenter, spec: RunSpec, data: DataRecord) -> dict[str, object]:
    """Return what the record says of the encoder, of a second vision model, and of texts."""
    own = encoder_facts(segmenter.encoder, data.n_learned)
    texts = facts_of_texts(segmenter.head, spec.encoder)
    return own | second_model_facts(segmenter.head) | texts


def curves_record(progress: Progress) -> CurvesRecord:
    """Return training loss and validation scores by step."""
    return CurvesRecord(
        loss_steps=progress.loss_steps,
        loss=progress.loss,
        terms=progress.terms,
        val_steps=progress.val_steps,
        val_score=progress.val_score,
        val_metrics=progress.val_metrics,
        epsilon=progress.epsilon,
    )


def convergence_record(
    progress: Progress, recipe: Recipe, n_train: int
) -> ConvergenceRecord | None:
    """Return when validation was best, and when its score first reached 95 % of that value.

    It is None where there was no training step.

    Args:
        progress: the curves.
        recipe: how it was trained.
        n_train: training images.
    """
    if not progress.step:
        return None
    best, epochs_per_step = progress.best_score, recipe.batch_size / n_train
    kept: list[int] = []
    if recipe.checkpoints.keep > 1:
        kept = progress.ranking(recipe.checkpoints.metric)[: recipe.checkpoints.keep]
    reached = epochs_to_reached = None
    if best is not None:
        pairs = zip(progress.val_steps, progress.val_score, strict=True)
        reached = next(step for step, score in pairs if score is not None and score >= 0.95 * best)
        epochs_to_reached = reached * epochs_per_step
    return ConvergenceRecord(
        steps=progress.step,
        stopped=progress.stopped,
        metric=recipe.checkpoints.metric or progress.metric,
        kept_steps=kept,
        best_step=progress.best_step,
        best_val_score=best,
        step_to_95_percent=reached,
        epochs_to_95_percent=epochs_to_reached,
        epochs=progress.step * epochs_per_step,
    )


def cost_record(
    segmenter: Segmenter, spec: RunSpec, progress: Progress, images: Sequence[Tensor] = ()
) -> CostRecord:
    """Return the model's cost at the size of the training crops, and what its training took.

    Args:
        segmenter: with its best weights.
        spec: the run.
        progress: of its training.
        images: of the reported split, 3×h×w uint8, for heads whose cost depends on them.
    """
    cost = _model_cost(segmenter, spec, images)
    speeds = [1000 * latency.batch_size / latency.median for latency in cost.latency_ms]
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return CostRecord(
        **cost.model_dump(),
        images_per_second=max(speeds),
        train_seconds=progress.seconds,
        peak_memory_bytes=progress.peak_memory_bytes,
        peak_memory_of=progress.peak_memory_of,
    )


def _model_cost(segmenter: Segmenter, spec: RunSpec, images: Sequence[Tensor]) -> ModelCost:
    """Return parameters as trained, and FLOPs and latency with merged adapters if asked for."""
    size, batch_sizes = spec.recipe.augmentation.crop, tuple(sorted({1, spec.recipe.batch_size}))
    name = _architecture(spec)
    adapt = spec.encoder.adapt
    if adapt is None or not adapt.lora.merge:
        return measure_with_regions(segmenter, size, batch_sizes, images, name)
    merged = Segmenter(merge_adapters(segmenter.encoder), segmenter.head)
    merged.image_head = segmenter.image_head
    merged = merged.to(segmenter.mean.device)
    cost = measure_with_regions(merged, size, batch_sizes, images, name)
    return cost.model_copy(update=count_parameters(segmenter))


def _architecture(spec: RunSpec) -> str:
    """Return all that decides the FLOPs of a run's model: runs of other seeds have the same."""
    classes = (len(spec.dataset.classes), len(spec.dataset.image_classes or ()))
    precision = spec.recipe.feature_precision
    return f"{spec.encoder!r} {spec.segmenter!r} {classes} {precision}"
