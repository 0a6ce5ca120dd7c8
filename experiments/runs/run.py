"""One run: data, model, training, evaluation, cost, record."""

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.datasets.subsets import fingerprint, nested_order, subset
from encoder_ablations.data.loading.balancing import Mixed
from encoder_ablations.data.loading.batches import Samples, evaluation_items
from encoder_ablations.data.loading.cache import for_evaluation, for_training
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.evaluation.evaluate import evaluate, gather_images
from encoder_ablations.engine.evaluation.per_image import PerImage, save_per_image
from encoder_ablations.engine.processes import in_contact
from encoder_ablations.engine.training.checkpoints import load_checkpoint, load_model
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.fingerprint import (
    files_of_runs,
    refuse_other_files,
    save_files,
)
from encoder_ablations.experiments.runs.folder import check_run_files, save_config
from encoder_ablations.experiments.runs.pictures import save_pictures
from encoder_ablations.experiments.runs.record import (
    PER_IMAGE,
    DataRecord,
    ErrorRecord,
    RunRecord,
    save_record,
)
from encoder_ablations.experiments.runs.record_builder import finished_record
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.environment import describe_environment
from encoder_ablations.utils.errors import CannotContinue, InputError
from encoder_ablations.utils.files import StorageError

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
        report = (
            for_evaluation(folders["test"], augmentation),
            list(range(len(folders["test"]))),
            "test",
        )
    if spec.recipe.overfit:
        indices = indices[: spec.recipe.overfit]
        training = TrainingData(spec.dataset, train, indices, train, indices)
        report = (train, indices, "train")
    counts = checked.scans["train"].counts
    record = DataRecord(
        train_ids_sha256=fingerprint([train.ids[index] for index in indices]),
        train_masks_sha256=fingerprint(
            [f"{train.ids[index]} {counts[index].tolist()}" for index in indices]
        ),
        n_train=len(indices),
        n_val=len(training.val_indices),
        n_test=len(folders["test"]) if "test" in folders else None,
        fraction=spec.fraction,
        class_names=list(spec.dataset.classes),
        colors=colors_of(spec.dataset),
        report_split=report[2],
        dataset_sha256=checked.fingerprint,
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

    A failure inside is recorded as such and returned; bad input is raised. Of several processes the one that fails
    records it and ends, for the others wait for it: whoever started them (torchrun) then ends these, too.

    Args:
        advance: called after every training step with the number of steps done and a short status.

    Raises:
        InputError: something that the user can put right.
        CannotContinue: this process or another one that works on the run has failed.
    """
    if spec.detectron2 is not None:
        raise InputError(
            f"the run {spec.run_id} is one of Detectron2's engine; repeat it with ablate train-net."
        )
    started = now()
    accelerator = make_accelerator(execution.device)
    with computing(accelerator.device, spec.recipe.precision, execution.deterministic):
        environment = describe_environment(
            str(accelerator.device)
        )  # some errors of CUDA leave it speechless
        try:
            with in_contact():
                record = _run(spec, folder, execution, accelerator, advance, started)
                if accelerator.is_main_process:
                    save_record(record, folder)
                accelerator.wait_for_everyone()
            return record
        except InputError:
            raise
        except FAILURES as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"cannot write below {folder}: {error.strerror}. Free some space."
                ) from error
            record = failed_record(spec, error, started, environment)
    save_record(record, folder)
    end_with_others(record, accelerator)
    return record


def end_with_others(failed: RunRecord, accelerator: Accelerator) -> None:
    """Do nothing where this process works alone, which goes on with the next run.

    Raises:
        CannotContinue: others wait for this process.
    """
    if accelerator.num_processes == 1:
        return
    assert failed.error is not None
    raise CannotContinue(
        f"{failed.run_id} failed in process {accelerator.process_index} of {accelerator.num_processes}: "
        f"{failed.error.type}: {' '.join(failed.error.message.split())}. It is recorded; the same command goes on with "
        "what is left."
    )


def failed_record(
    spec: RunSpec, error: BaseException, started: str, environment: dict[str, Any]
) -> RunRecord:
    """What is kept of a run that ended with ``error``."""
    return RunRecord(
        run_id=spec.run_id,
        status="failed",
        spec=spec,
        started=started,
        finished=now(),
        environment=environment,
        error=ErrorRecord(
            type=type(error).__name__,
            message=str(error),
            traceback="".join(traceback.format_exception(error)),
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
    check_run_files(folder, spec.run_id)
    data = prepare_data(spec)
    refuse_other_files(spec.dataset, data.record, files_of_runs([folder]))
    if accelerator.is_main_process:
        save_config(spec, folder)
        save_files(spec.run_id, spec.dataset, data.record, folder)
    segmenter = build_model(spec)
    trainer = Trainer(
        segmenter,
        data.training,
        spec.recipe,
        spec.seed,
        folder,
        accelerator,
        execution.workers,
        execution.store(),
        spec.run_id,
    )
    progress = trainer.run(advance)
    best = load_checkpoint(trainer.best, spec.run_id, progress.best_step)
    load_model(segmenter, best["model"], trainer.best)
    items = evaluation_items(
        data.report,
        data.report_indices,
        spec.recipe.augmentation,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        workers=execution.workers,
    )
    read = partial(trainer.features.evaluation, data.report)
    result = evaluate(
        segmenter, items, len(spec.dataset.classes), accelerator, keep_pictures=PICTURES, read=read
    )
    images = PerImage.of(gather_images(result.images, accelerator), len(spec.dataset.classes))
    if accelerator.is_main_process:
        save_pictures(result.pictures, folder, len(spec.dataset.classes), spec.run_id)
        save_per_image(images, folder / PER_IMAGE, spec.run_id)
    environment = describe_environment(str(accelerator.device)) | trainer.features.report()
    return finished_record(
        spec, data.record, segmenter, progress, result, started, environment, data.warnings
    )
