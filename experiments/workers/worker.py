"""Compute one run of a study: locked, reported on, and recorded even when it fails."""

import time
from contextlib import ExitStack, closing

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.processes import in_contact
from encoder_ablations.experiments.runs.execution import Advance
from encoder_ablations.experiments.runs.failure import record_failure
from encoder_ablations.experiments.runs.folder import load_run
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.run import end_with_others, execute_run, make_trainer
from encoder_ablations.experiments.workers.clients.client_process import serve
from encoder_ablations.experiments.workers.clients.pool import ClientProcesses
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.locks import holding
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.progress import ProgressFile, clear_up
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import StorageError


def compute(run: PlannedRun, job: Job, advance: Advance = lambda step, status: None) -> Outcome:
    """Compute a run unless somebody else does or did.

    Failures and bad input of the run are recorded.

    Raises:
        StorageError: results cannot be written; the run is not to blame and goes on when they can.
        CannotContinue: this process or another one that works on the run has failed.
        KeyboardInterrupt: Ctrl-C, after the step has been finished and saved.
    """
    began = time.monotonic()
    accelerator = make_accelerator(job.execution.device)
    with ExitStack() as stack:
        # of several processes that work on one run, the first decides for all
        settled: list[Outcome | None] = [None]
        if accelerator.is_main_process:
            settled = [_claim(run, job, stack)]
        with in_contact():
            broadcast_object_list(settled)
        if settled[0] is not None:
            return settled[0]
        progress = ProgressFile(run.folder, run.spec.run_id, run.spec.steps)

        def report(step: int, status: str) -> None:
            if accelerator.is_main_process:
                progress(step, status)
            advance(step, status)

        record = _execute(run, job, report, accelerator)
        if accelerator.is_main_process:
            progress.remove()
    return Outcome.of(record, time.monotonic() - began)


def _claim(run: PlannedRun, job: Job, stack: ExitStack) -> Outcome | None:
    """Lock the run; return an outcome if nothing is left to do."""
    run_id = run.spec.run_id
    if not stack.enter_context(holding(run.folder, job.lock_seconds)):
        return Outcome(run_id, "elsewhere")
    try:
        record = load_run(run.folder)
    except InputError as error:
        return Outcome(run_id, "failed", message=str(error))
    if record is None:
        return None
    if record.status == "finished":
        clear_up(run.folder, job.execution.keep_last)
    if record.status == "finished" or not job.retry_failed:
        return Outcome.of(record)
    (run.folder / "record.json").unlink()
    return None


def _execute(run: PlannedRun, job: Job, advance: Advance, accelerator: Accelerator) -> RunRecord:
    started = now()
    try:
        clients = ClientProcesses(run.folder, job.execution, make_trainer, serve)
        with closing(clients):
            return execute_run(run.spec, run.folder, job.execution, advance, clients.prepare)
    except StorageError:
        raise
    except InputError as error:
        record = record_failure(run.spec, run.folder, error, started, job.execution.device)
        end_with_others(record, accelerator)
        return record
