"""The work of each process of ``train_net.py``: set up, train or evaluate, record."""

import argparse
import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from encoder_ablations.engine.devices import computing
from encoder_ablations.engine.processes import lost_contact
from encoder_ablations.experiments.detectron2_loop.checkpoint import (
    as_load_error,
    check_encoder,
    check_run,
    check_weights,
    checkpoint_to_load,
)
from encoder_ablations.experiments.detectron2_loop.configuration import (
    RecordedRun,
    Setup,
    configure,
)
from encoder_ablations.experiments.detectron2_loop.limits import as_build_error
from encoder_ablations.experiments.detectron2_loop.recording import as_segmenter, record_run
from encoder_ablations.experiments.detectron2_loop.trainer import trainer_class
from encoder_ablations.experiments.detectron2_loop.translation import precision_of
from encoder_ablations.experiments.runs.failure import record_failure
from encoder_ablations.experiments.runs.fingerprint import (
    files_of_runs,
    refuse_other_files,
    save_files,
)
from encoder_ablations.experiments.runs.folder import check_run_files
from encoder_ablations.experiments.runs.record import RunRecord, load_record, save_record
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.ops.official_operator import provide_operator
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import ensure_writable
from encoder_ablations.utils.interrupts import Interrupt, deferred_interrupt

logger = logging.getLogger("detectron2.encoder_ablations")


def work(arguments: argparse.Namespace, setup: Setup | None = None) -> None:
    """Train or evaluate, in every process.

    Args:
        arguments: of ``ablate train-net``.
        setup: what ``configure(arguments)`` gave, where that was called in this process.

    Raises:
        InputError: a checkpoint that does not belong to what is asked for.
    """
    setup = setup or configure(arguments)
    cfg = setup.cfg
    if setup.run is not None and not arguments.eval_only and _is_finished(cfg, setup.run.spec):
        return
    path, resumed = checkpoint_to_load(cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS, arguments.resume)
    if setup.run is not None:
        _check_checkpoint(arguments, cfg, setup.run.spec, path, resumed)
    if arguments.eval_only and not path:
        raise InputError(
            "--eval-only needs weights: MODEL.WEIGHTS FILE, or --resume for the last ones of "
            "OUTPUT_DIR."
        )
    cfg.freeze()
    ensure_writable(cfg.OUTPUT_DIR)
    default_setup(cfg, arguments)
    setup_logger(output=cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="mask2former")
    for note in setup.notes:
        logger.info(note)
    logger.info(
        "deformable attention in float32 is computed by: %s", provide_operator(cfg.MODEL.DEVICE)
    )
    # after default_setup, which sets the same things in PyTorch's older way
    with computing(torch.device(cfg.MODEL.DEVICE), precision_of(cfg), arguments.deterministic):
        if arguments.eval_only:
            _evaluate(setup, path, arguments.resume)
        else:
            _train_and_record(arguments, setup, path, resumed)


def _check_checkpoint(
    arguments: argparse.Namespace, cfg: CfgNode, spec: RunSpec, path: str, resumed: bool
) -> None:
    """Check the checkpoint that the run starts from.

    Raises:
        InputError: it does not belong to the run, or an unfinished run is in the way.
    """
    check_encoder(path, spec.encoder, resumed)
    if arguments.eval_only:
        return
    if resumed:
        check_run(path, spec.run_id)
    _, unfinished = checkpoint_to_load(cfg.OUTPUT_DIR, "", True)
    if unfinished and not arguments.resume:
        raise InputError(
            f"{cfg.OUTPUT_DIR} holds an unfinished run. Add --resume to go on with it, or delete "
            "it to begin anew."
        )


def _train_and_record(
    arguments: argparse.Namespace, setup: Setup, path: str, resumed: bool
) -> None:
    """Train, evaluate the best weights, and record the run if it is recorded.

    Args:
        arguments: of ``ablate train-net``.
        setup: what is trained.
        path: where the weights come from.
        resumed: whether that is a checkpoint of this run.
    """
    cfg = setup.cfg
    if arguments.resume and not resumed:
        logger.warning(
            "--resume: there is no checkpoint in %s yet, starting from the beginning",
            cfg.OUTPUT_DIR,
        )
    started = now()
    with as_build_error(cfg, setup.options):
        trainer = trainer_class()(cfg, setup.spec)
    check_weights(path, trainer.model, whole=resumed)
    if setup.run is not None:
        _note_files(cfg, setup.run)
    with as_load_error(path, cfg.OUTPUT_DIR):
        trainer.resume_or_load(resume=arguments.resume)
    if setup.run is None:
        trainer.train()
    else:
        _train_recorded(trainer, cfg, setup.run, started)


def _train_recorded(trainer: Any, cfg: CfgNode, run: RecordedRun, started: str) -> None:
    """Train a run and write its record, also when it fails."""
    folder = Path(cfg.OUTPUT_DIR)
    segmenter = as_segmenter(trainer, cfg)
    try:
        with _interrupts() as trainer.interrupt:
            trainer.train()
        record = record_run(trainer, cfg, segmenter, run.spec, run.data, started)
    except InputError:
        raise
    except Exception as error:
        # The process that failed records it. In the others only the connection to it breaks.
        if not lost_contact(error):
            record_failure(run.spec, folder, error, started, cfg.MODEL.DEVICE)
        raise
    if comm.is_main_process():
        save_record(record, folder)
        _announce(record, folder)


def _interrupts() -> AbstractContextManager[Interrupt]:
    """Defer Ctrl-C to the end of the step where one process trains.

    Several would stop at different steps, each waiting for the others: they stop at once.
    """
    if comm.get_world_size() == 1:
        return deferred_interrupt()
    return nullcontext(Interrupt())


def _note_files(cfg: CfgNode, run: RecordedRun) -> None:
    """Write down which files of the dataset the run sees.

    Raises:
        InputError: they have changed since the run began, or nothing tells.
    """
    folder, dataset, digest = Path(cfg.OUTPUT_DIR), run.spec.dataset, run.data.record.dataset_sha256
    check_run_files(folder, run.spec.run_id)
    refuse_other_files(dataset, digest, files_of_runs([folder]))
    if comm.is_main_process():
        save_files(run.spec.run_id, dataset, digest, folder)


def _evaluate(setup: Setup, path: str, resume: bool) -> None:
    """Evaluate as the official ``--eval-only``, with test-time augmentation if TEST.AUG.ENABLED."""
    cfg, official = setup.cfg, trainer_class()
    with as_build_error(cfg, setup.options):
        model = official.build_model(cfg)
    check_weights(path, model, whole=True)
    checkpointer = DetectionCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    with as_load_error(path, cfg.OUTPUT_DIR):
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    results = official.test(cfg, model)
    if cfg.TEST.AUG.ENABLED:
        results.update(official.test_with_TTA(cfg, model))
    if comm.is_main_process():
        verify_results(cfg, results)


def _is_finished(cfg: CfgNode, spec: RunSpec) -> bool:
    """Return whether the run has a record that says so, and print it.

    Raises:
        InputError: another run's record is in the output folder.
    """
    folder = Path(cfg.OUTPUT_DIR)
    record = load_record(folder)
    if record is None:
        return False
    if record.run_id != spec.run_id:
        raise InputError(
            f"{folder} holds the record of another run, {record.run_id}. Choose another "
            "OUTPUT_DIR, or leave it out."
        )
    finished = record.status == "finished"
    if finished and comm.is_main_process():
        print("This run is finished; delete its folder to repeat it.")
        _announce(record, folder)
    return finished


def _announce(record: RunRecord, folder: Path) -> None:
    print(f"{record.score}\nrecord: {folder / 'record.json'}")
    if folder.name == record.run_id:
        print(f"report: ablate report {folder.parent.parent}")
