"""One run: data, model, training, evaluation, cost, record."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.evaluation.evaluate import Evaluation, evaluate, gather_images
from encoder_ablations.engine.evaluation.per_image import PerImage, save_per_image
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.engine.processes import in_contact
from encoder_ablations.engine.training.callbacks import Callback
from encoder_ablations.engine.training.checkpoints import load_checkpoint, load_model
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.federated.clients import client_step
from encoder_ablations.engine.training.federated.course import FederatedCourse
from encoder_ablations.engine.training.fitting import Fitting
from encoder_ablations.engine.training.logs.step_profile import StepProfile
from encoder_ablations.engine.training.logs.trackers import Trackers
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.runs.batch_norm import prepare_statistics
from encoder_ablations.experiments.runs.custom_code import code_of, refuse_other_code
from encoder_ablations.experiments.runs.execution import (
    EVALUATING,
    MEASURING,
    Advance,
    Execution,
)
from encoder_ablations.experiments.runs.failure import failed_record
from encoder_ablations.experiments.runs.federated.clients import clients_of
from encoder_ablations.experiments.runs.federated.outcome import with_federation
from encoder_ablations.experiments.runs.fingerprint import (
    files_of_runs,
    refuse_other_files,
    refuse_other_masks,
    save_files,
)
from encoder_ablations.experiments.runs.folder import (
    LAST,
    check_run_files,
    discard_last,
    save_config,
)
from encoder_ablations.experiments.runs.metrics_record import scalars
from encoder_ablations.experiments.runs.model import build_model, member_of
from encoder_ablations.experiments.runs.pictures import PICTURES, save_pictures
from encoder_ablations.experiments.runs.preparation import RunData, prepare_data, with_pseudo_labels
from encoder_ablations.experiments.runs.pseudo_labels.teacher import check_teacher
from encoder_ablations.experiments.runs.record import PER_IMAGE, RunRecord, save_record
from encoder_ablations.experiments.runs.record_builder import finished_record
from encoder_ablations.experiments.runs.spec import RunSpec, slug
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.ops.cuda_choice import report_of
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.environment import describe_environment
from encoder_ablations.utils.errors import CannotContinue, InputError
from encoder_ablations.utils.files import UNWRITABLE, StorageError


def execute_run(
    spec: RunSpec,
    folder: Path,
    execution: Execution,
    advance: Advance = lambda step, status: None,
    prepare: Callable[[RunSpec], RunData] = prepare_data,
) -> RunRecord:
    """Train (or go on training), evaluate and record one run in ``folder``.

    A failure inside is recorded as such and returned; bad input is raised. If several processes
    share the run, the one that fails records it and ends, because the others wait for it. Whoever
    started them (torchrun) then ends these, too.

    ``prepare`` returns the run's images. By default all of them are read here.

    Raises:
        InputError: something that the user can put right.
        CannotContinue: this process or another one that works on the run has failed.
    """
    if spec.detectron2 is not None:
        raise InputError(
            f"the run {spec.run_id} was trained in Detectron2; repeat it with ablate train-net."
        )
    started = now()
    accelerator = make_accelerator(execution.device)
    execution = execution.on(accelerator.device.type, torch.cuda.device_count())
    with computing(accelerator.device, spec.recipe.precision, execution.deterministic):
        # asked for now, because after some errors of CUDA it cannot be
        environment = describe_environment(str(accelerator.device))
        try:
            with in_contact(), closing(_trackers(spec, folder, execution)) as trackers:
                place = (folder, execution, accelerator)
                record = _run(spec, prepare, *place, advance, started, trackers)
                if accelerator.is_main_process:
                    _conclude(record, folder, execution)
                trackers.log_scores(scalars(record.metrics))
                accelerator.wait_for_everyone()
            return record
        except (InputError, CannotContinue):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in UNWRITABLE:
                raise StorageError(
                    f"cannot write below {folder}: {error.strerror}. Free some space or choose "
                    "another folder with --output."
                ) from error
            record = failed_record(spec, error, started, environment)
    save_record(record, folder)
    end_with_others(record, accelerator)
    return record


def _conclude(record: RunRecord, folder: Path, execution: Execution) -> None:
    """Write the record of a finished run and delete what only an unfinished one needs."""
    save_record(record, folder)
    if not execution.keep_last:
        discard_last(folder)


def end_with_others(failed: RunRecord, accelerator: Accelerator) -> None:
    """Do nothing where this process works alone: it goes on with the next run.

    Raises:
        CannotContinue: others wait for this process.
    """
    if accelerator.num_processes == 1:
        return
    assert failed.error is not None
    raise CannotContinue(
        f"{failed.run_id} failed in process {accelerator.process_index} of "
        f"{accelerator.num_processes}: {failed.error.line}. It is recorded; the same command goes "
        "on with what is left."
    )


def _run(
    spec: RunSpec,
    prepare: Callable[[RunSpec], RunData],
    folder: Path,
    execution: Execution,
    accelerator: Accelerator,
    advance: Advance,
    started: str,
    trackers: Trackers,
) -> RunRecord:
    check_run_files(folder, spec.run_id)
    data = prepare(spec)
    refuse_other_files(spec.dataset, data.record.dataset_sha256, files_of_runs([folder]))
    refuse_other_code(spec, [folder])
    data = with_teacher(data, spec, folder.absolute().parent.parent, accelerator.device)
    masks = data.record.predicted_masks
    refuse_other_masks(folder, masks)
    if accelerator.is_main_process:
        save_config(spec, folder)
        seen = data.record.dataset_sha256
        save_files(spec.run_id, spec.dataset, seen, folder, code_of(spec), masks)
    segmenter = build_model(spec, data.record.class_pixels)
    if not (folder / LAST).exists():  # the checkpoint holds the statistics, too
        part = (data.train.samples, data.train.indices)
        prepare_statistics(segmenter, spec, part, accelerator, execution.loaders)
    callbacks = _callbacks(spec, folder, execution, trackers)
    trainer = make_trainer(spec, data, segmenter, folder, accelerator, execution, callbacks)
    progress = trainer.run(advance)
    ended = ""
    if progress.stopped is not None:
        ended = f"training ended early after step {progress.step}: {progress.stopped}; "
    advance(progress.step, ended + EVALUATING)
    best = load_checkpoint(trainer.best, spec.run_id, progress.best_step)
    load_model(segmenter, best["model"], trainer.best)
    result = _evaluate(spec, data, execution, accelerator, segmenter, trainer)
    _save_images(spec, folder, accelerator, result)
    advance(progress.step, MEASURING)
    environment = describe_environment(str(accelerator.device)) | trainer.features.report()
    if segmenter.head.attention_paths():
        environment |= report_of(accelerator.device)
    record = finished_record(
        spec, data.record, segmenter, progress, result, started, environment, data.warnings
    )
    rounds = None
    if isinstance(trainer, Trainer) and isinstance(trainer.course, FederatedCourse):
        rounds = trainer.course.rounds
    return with_federation(record, data.division, rounds)


def with_teacher(data: RunData, spec: RunSpec, study: Path, device: torch.device) -> RunData:
    """Return a run's data with the masks that its teacher predicts, if it has one.

    Args:
        data: the images with labels.
        spec: the run.
        study: folder of the study, which keeps the masks.
        device: where the teacher computes.

    Raises:
        InputError: the teacher cannot be used, or a predicted mask is damaged.
    """
    if spec.pseudo_labels is None:
        return data
    teacher = check_teacher(spec, spec.pseudo_labels, data.checked, data.train.indices)

    def load() -> Predictor:
        return Predictor([member_of(teacher, device)], spec.dataset.classes)

    return with_pseudo_labels(data, spec, study, load)


def make_trainer(
    spec: RunSpec,
    data: RunData,
    segmenter: Segmenter,
    folder: Path,
    accelerator: Accelerator,
    execution: Execution,
    callbacks: Sequence[Callback],
) -> Trainer | Fitting:
    """Return what trains the run: in rounds where there is a federation of several clients."""
    place = (spec.recipe, spec.seed, folder, accelerator, execution.loaders, execution.store())
    whole = _training_data(spec, data, execution)
    if spec.federation is None or spec.federation.is_local or data.division is None:
        return trainer_of(segmenter)(segmenter, whole, *place, spec.run_id, callbacks)
    clients = clients_of(spec, whole, data.division, accelerator, execution.loaders)
    settings = (spec.federation, clients, spec.seed)
    course = partial(FederatedCourse, *settings, remote=data.remote)
    step = client_step(spec.federation)
    return Trainer(segmenter, whole, *place, spec.run_id, callbacks, step, course)


def trainer_of(segmenter: Segmenter) -> Callable[..., Trainer | Fitting]:
    """Return what trains a model, or reads the training images once for it."""
    if segmenter.head.learns:
        return Trainer
    return partial(Fitting, pictures=PICTURES)


def _training_data(spec: RunSpec, data: RunData, execution: Execution) -> TrainingData:
    train, val, pixels = data.train, data.val, data.record.class_pixels
    place = (spec.dataset, train.samples, train.indices, val.samples, val.indices)
    return TrainingData(*place, pixels, execution.evaluation_batch)


def _callbacks(
    spec: RunSpec, folder: Path, execution: Execution, trackers: Trackers
) -> list[Callback]:
    """Return what looks at the run's steps, besides the loop itself."""
    callbacks: list[Callback] = [trackers]
    if execution.profile:
        name = slug([spec.encoder.title, spec.segmenter.title])
        callbacks.append(StepProfile(folder.parent.parent / "profile" / f"{name}.txt"))
    return callbacks


def _trackers(spec: RunSpec, folder: Path, execution: Execution) -> Trackers:
    """Return what shows the run elsewhere, under the name of its study's folder."""
    project = folder.absolute().parent.parent.name or "encoder-ablations"
    return Trackers(execution.trackers, project, spec.model_dump(mode="json"))


def _evaluate(
    spec: RunSpec,
    data: RunData,
    execution: Execution,
    accelerator: Accelerator,
    segmenter: Segmenter,
    trainer: Trainer | Fitting,
) -> Evaluation:
    """The best weights on the images that the run's number is measured on."""
    # without training there is one evaluation on val, and the number may be of the same images
    if isinstance(trainer, Fitting) and trainer.validation and data.report is data.val:
        return trainer.validation
    items = evaluation_items(
        data.report.samples,
        data.report.indices,
        spec.recipe.augmentation,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        workers=execution.loaders,
    )
    return evaluate(
        segmenter,
        items,
        len(spec.dataset.classes),
        accelerator,
        keep_pictures=PICTURES,
        read=partial(trainer.features.evaluation, data.report.samples),
        batch=execution.evaluation_batch,
    )


def _save_images(spec: RunSpec, folder: Path, accelerator: Accelerator, result: Evaluation) -> None:
    """Keep some predictions, and the confusion matrix of every image. All processes take part."""
    classes = len(spec.dataset.classes)
    images = PerImage.of(gather_images(result.images, accelerator), classes)
    if accelerator.is_main_process:
        save_pictures(result.pictures, folder, classes, spec.run_id)
        save_per_image(images, folder / PER_IMAGE, spec.run_id)
