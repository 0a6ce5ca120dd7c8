"""One run: data, model, training, evaluation, cost, record."""

import errno
import math
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from encoder_ablations.data.cache import for_evaluation, for_training
from encoder_ablations.data.check import check_dataset
from encoder_ablations.data.loading import Samples, evaluation_items
from encoder_ablations.data.mixing import Mixed
from encoder_ablations.data.palette import colors_of
from encoder_ablations.data.spec import Split
from encoder_ablations.data.subsets import fingerprint, nested_order, subset
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.engine import metrics as m
from encoder_ablations.engine.checkpoints import load_checkpoint, load_model
from encoder_ablations.engine.confusion import ConfusionMatrix
from encoder_ablations.engine.cost import measure_cost
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluate import evaluate, gather_images
from encoder_ablations.engine.per_image import PerImage, save_per_image
from encoder_ablations.engine.state import Progress
from encoder_ablations.engine.train import Trainer, TrainingData
from encoder_ablations.experiments.disclosures import disclosures
from encoder_ablations.experiments.execution import Execution
from encoder_ablations.experiments.pictures import save_pictures
from encoder_ablations.experiments.run_record import (
    PER_IMAGE,
    ConvergenceRecord,
    CostRecord,
    CurvesRecord,
    DataRecord,
    ErrorRecord,
    MetricsRecord,
    RunRecord,
    save_record,
)
from encoder_ablations.experiments.run_spec import RunSpec
from encoder_ablations.experiments.study import save_config
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.official_operator import attention_calls
from encoder_ablations.utils.environment import describe_environment
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import StorageError
from encoder_ablations.utils.seeding import use_deterministic_kernels

PICTURES = 6
FAILURES = (
    RuntimeError,
    ArithmeticError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ImportError,
    EOFError,
    MemoryError,
    OSError,
)
"""What ends a run without ending the study."""


@dataclass(frozen=True)
class RunData:
    """The images of one run: what it learns from, and what its number is measured on."""

    training: TrainingData
    report: Samples
    report_indices: list[int]
    record: DataRecord
    warnings: tuple[str, ...] = ()


def prepare_data(spec: RunSpec) -> RunData:
    """Checks the dataset and picks the run's subset.

    Raises:
        InputError: anything wrong with the files, or a fraction that leaves no image.
    """
    checked = check_dataset(spec.dataset)
    folders = checked.datasets
    augmentation = spec.recipe.augmentation
    train = for_training(folders["train"], augmentation)
    val = for_evaluation(folders["val"], augmentation, keep=True)
    indices = subset(nested_order(checked.scans["train"].present, spec.seed), spec.fraction)
    if spec.recipe.pos_ratio is not None:
        indices = _mixed(spec, indices, checked.scans["train"].present)
    everything = list(range(len(val)))
    training = TrainingData(spec.dataset, train, indices, val, everything)
    report: tuple[Samples, list[int], Split] = (val, everything, "val")
    if "test" in folders:
        report = (for_evaluation(folders["test"], augmentation), list(range(len(folders["test"]))), "test")
    if spec.recipe.overfit:
        indices = indices[: spec.recipe.overfit]
        training = TrainingData(spec.dataset, train, indices, train, indices)
        report = (train, indices, "train")
    counts = checked.scans["train"].counts
    record = DataRecord(
        train_ids_sha256=fingerprint([train.ids[index] for index in indices]),
        train_masks_sha256=fingerprint([f"{train.ids[index]} {counts[index].tolist()}" for index in indices]),
        n_train=len(indices),
        n_val=len(training.val_indices),
        n_test=len(folders["test"]) if "test" in folders else None,
        fraction=spec.fraction,
        class_names=list(spec.dataset.classes),
        colors=colors_of(spec.dataset),
        report_split=report[2],
    )
    return RunData(training, report[0], report[1], record, tuple(checked.warnings))


def _mixed(spec: RunSpec, indices: list[int], present: np.ndarray) -> Mixed:
    """The indices, to be drawn from as ``recipe.pos_ratio`` says; ``present`` is N×K."""
    assert spec.recipe.pos_ratio is not None
    if len(spec.dataset.classes) != 2:
        raise InputError(
            f"recipe.pos_ratio needs a dataset of two classes, background and object; '{spec.dataset.name}' has "
            f"{len(spec.dataset.classes)}. Leave it out."
        )
    return Mixed(indices, present[:, 1], spec.recipe.pos_ratio)


def build_model(spec: RunSpec) -> Segmenter:
    """The run's segmenter with its initial weights."""
    encoder = build_encoder(spec.encoder, spec.seed)
    encoder.round_maps(spec.recipe.feature_precision)
    return build_segmenter(spec.segmenter, encoder, len(spec.dataset.classes), spec.seed)


def execute_run(
    spec: RunSpec,
    folder: Path,
    execution: Execution,
    advance: Callable[[int, str], object] = lambda step, status: None,
) -> RunRecord:
    """Trains (or goes on training), evaluates and records one run in ``folder``.

    A failure inside is recorded as such and returned; bad input is raised.

    Args:
        advance: called after every training step with the number of steps done and a short status.

    Raises:
        InputError: something that the user can put right.
    """
    if spec.detectron2 is not None:
        raise InputError(f"the run {spec.run_id} is one of Detectron2's engine; repeat it with train_net.py.")
    started = now()
    accelerator = make_accelerator(execution.device)
    use_deterministic_kernels()
    try:
        record = _run(spec, folder, execution, accelerator, advance, started)
    except InputError:
        raise
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"cannot write below {folder}: {error.strerror}. Free some space.") from error
        record = failed_record(spec, error, started, str(accelerator.device))
    if accelerator.is_main_process:
        save_record(record, folder)
    accelerator.wait_for_everyone()
    return record


def now() -> str:
    """The time for records, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def failed_record(spec: RunSpec, error: BaseException, started: str, device: str) -> RunRecord:
    """What is kept of a run that ended with ``error``."""
    return RunRecord(
        run_id=spec.run_id,
        status="failed",
        spec=spec,
        started=started,
        finished=now(),
        environment=describe_environment(device),
        error=ErrorRecord(
            type=type(error).__name__, message=str(error), traceback="".join(traceback.format_exception(error))
        ),
    )


def _run(
    spec: RunSpec,
    folder: Path,
    execution: Execution,
    accelerator: Accelerator,
    advance: Callable[[int, str], object],
    started: str,
) -> RunRecord:
    calls = attention_calls()
    data = prepare_data(spec)
    if accelerator.is_main_process:
        save_config(spec, folder)
    segmenter = build_model(spec)
    trainer = Trainer(
        segmenter, data.training, spec.recipe, spec.seed, folder, accelerator, execution.workers, execution.store()
    )
    progress = trainer.run(advance)
    load_model(segmenter, load_checkpoint(trainer.best)["model"], trainer.best)
    items = evaluation_items(
        data.report,
        data.report_indices,
        spec.recipe.augmentation,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        workers=execution.workers,
    )
    read = partial(trainer.features.evaluation, data.report)
    result = evaluate(segmenter, items, len(spec.dataset.classes), accelerator, keep_pictures=PICTURES, read=read)
    images = PerImage.of(gather_images(result.images, accelerator), len(spec.dataset.classes))
    if accelerator.is_main_process:
        save_pictures(result.pictures, folder)
        save_per_image(images, folder / PER_IMAGE)
    cost = cost_record(segmenter, spec, progress)
    attention = paths_since(calls)
    return RunRecord(
        run_id=spec.run_id,
        status="finished",
        spec=spec,
        started=started,
        finished=now(),
        environment=describe_environment(str(accelerator.device)) | trainer.features.report(),
        data=data.record,
        metrics=metrics_record(result.confusion, spec.dataset.classes),
        confusion_matrix=result.confusion.counts.tolist(),
        curves=curves_record(progress),
        convergence=convergence_record(progress, spec.recipe.batch_size / data.record.n_train),
        cost=cost,
        encoder=segmenter.encoder.body.facts(),
        pictures=[picture.id for picture in result.pictures],
        deformable_attention=attention,
        disclosures=[*disclosures(spec, data.record, accelerator.device, progress, attention), *data.warnings],
    )


def metrics_record(confusion: ConfusionMatrix, classes: tuple[str, ...]) -> MetricsRecord:
    """All quality metrics of one confusion matrix; NaN becomes None."""

    def number(value: float) -> float | None:
        return None if math.isnan(value) else float(value)

    def by_class(values: object) -> dict[str, float | None]:
        return {name: number(value) for name, value in zip(classes, values, strict=True)}  # type: ignore[call-overload]

    return MetricsRecord(
        miou=number(m.mean_iou(confusion)),
        miou_union=number(m.mean_iou_union(confusion)),
        miou_all=m.mean_iou_all(confusion),
        mean_class_accuracy=number(m.mean_class_accuracy(confusion)),
        pixel_accuracy=number(m.pixel_accuracy(confusion)),
        frequency_weighted_iou=number(m.frequency_weighted_iou(confusion)),
        per_class_iou=by_class(m.class_iou(confusion)),
        per_class_dice=by_class(m.class_dice(confusion)),
        per_class_accuracy=by_class(m.class_accuracy(confusion)),
    )


def curves_record(progress: Progress) -> CurvesRecord:
    """Training loss and validation mIoU by step."""
    return CurvesRecord(
        loss_steps=progress.loss_steps,
        loss=progress.loss,
        val_steps=progress.val_steps,
        val_miou=progress.val_miou,
    )


def convergence_record(progress: Progress, epochs_per_step: float) -> ConvergenceRecord:
    """When validation mIoU first reached 95 % of its best."""
    best = progress.best_miou
    reached = None
    if best is not None:
        pairs = zip(progress.val_steps, progress.val_miou, strict=True)
        reached = next(step for step, miou in pairs if miou is not None and miou >= 0.95 * best)
    return ConvergenceRecord(
        best_step=progress.best_step,
        best_val_miou=best,
        step_to_95_percent=reached,
        epochs_to_95_percent=None if reached is None else reached * epochs_per_step,
        epochs=progress.step * epochs_per_step,
    )


def paths_since(calls: Counter[str]) -> list[str]:
    """What has computed deformable attention since :func:`attention_calls` gave ``calls``."""
    return sorted({name.split()[0] for name in attention_calls() - calls})


def cost_record(segmenter: Segmenter, spec: RunSpec, progress: Progress) -> CostRecord:
    """What the model costs at the size of the training crops, and what its training took."""
    batch_sizes = (1,) if spec.recipe.batch_size == 1 else (1, spec.recipe.batch_size)
    cost = asdict(measure_cost(segmenter, spec.recipe.augmentation.crop, batch_sizes))
    latencies = cost.pop("latencies")
    throughput = max(1000 * latency["batch_size"] / latency["median"] for latency in latencies)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return CostRecord(
        **cost,
        latency_ms=latencies,
        images_per_second=throughput,
        train_seconds=progress.seconds,
        peak_memory_bytes=progress.peak_memory_bytes,
    )
