"""Where the runs of a study are computed on this machine: here, one after the other, or in several processes."""

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait as wait_for_end
from multiprocessing.context import SpawnContext
from multiprocessing.synchronize import Event

import torch

from encoder_ablations.engine.processes import device_is_lost
from encoder_ablations.experiments.cli import quiet_imports
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers.display import Display
from encoder_ablations.experiments.workers.worker import Job, Outcome, compute, record_failure
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import CannotContinue

ATTEMPTS = 2
"""How often a run is begun whose process dies."""
LOOK_SECONDS = 1.0


def run_here(runs: Sequence[PlannedRun], job: Job, display: Display) -> None:
    """One run after the other, in this process.

    Raises:
        CannotContinue: a run failed and left the device unusable, so that all later ones would fail, too.
    """
    for run in runs:
        display.begin(run)
        outcome = compute(run, job, partial(display.advance, run))
        display.done(outcome)
        if outcome.state == "failed" and device_is_lost():
            raise CannotContinue(
                f"the GPU no longer works in this process since {outcome.run_id} failed ({outcome.message}). "
                "That is recorded; the same command goes on with what is left."
            )


def slots(count: int, execution: Execution) -> list[Execution]:
    """What each of ``count`` processes computes on: GPUs in turn if there are any, else a share of the cores."""
    gpus = torch.cuda.device_count() if execution.device in ("auto", "cuda") else 0
    if gpus:
        return [replace(execution, device=f"cuda:{index % gpus}") for index in range(count)]
    return [
        replace(execution, device="cpu" if execution.device == "auto" else execution.device)
    ] * count


def run_in_processes(
    runs: Sequence[PlannedRun], job: Job, display: Display, places: Sequence[Execution]
) -> None:
    """As many runs at a time as there are ``places``. Ctrl-C stops each of them after the step it is in.

    Raises:
        InputError: results cannot be written.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    free: queue.Queue[_Slot] = queue.Queue()
    previous = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # inherited by the processes: only this one is interrupted
    try:
        made = [
            _Slot(Job(place, job.retry_failed, job.lock_seconds), context, stop, len(places))
            for place in places
        ]
    finally:
        signal.signal(signal.SIGINT, previous)
    for slot in made:
        free.put(slot)

    def in_free_slot(run: PlannedRun) -> Outcome:
        slot = free.get()
        try:
            return slot.compute(run)
        finally:
            free.put(slot)

    with ThreadPoolExecutor(len(places)) as threads:
        futures = {threads.submit(in_free_slot, run): run for run in runs}
        try:
            _follow(futures, display)
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            _let_end([future for future in futures if not future.cancelled()])
            raise
        finally:
            for slot in made:
                slot.close()


def _follow(futures: dict[Future[Outcome], PlannedRun], display: Display) -> None:
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            display.done(future.result())
        display.look(
            [run for future, run in futures.items() if future in pending and future.running()]
        )


def _let_end(futures: Sequence[Future[Outcome]]) -> None:
    """Waits until every run has saved its step; at a second Ctrl-C their processes are killed."""
    print(
        "stopping: every run finishes and saves its step (Ctrl-C again: at once)", file=sys.stderr
    )
    with suppress(KeyboardInterrupt):
        wait(futures)
    for process in (
        multiprocessing.active_children()
    ):  # nothing is left to be saved, and their own end takes seconds
        process.kill()


class _Slot:
    """A process that computes one run after the other, and is made anew if it dies."""

    def __init__(self, job: Job, context: SpawnContext, stop: Event, count: int) -> None:
        self.job = job
        self.context = context
        self.stop = stop
        self.threads = (
            None
            if "OMP_NUM_THREADS" in os.environ
            else max(1, len(os.sched_getaffinity(0)) // count)
        )
        self._start()

    def _start(self) -> None:
        self.pool = ProcessPoolExecutor(
            1, self.context, initializer=_enter, initargs=(self.stop, self.threads)
        )
        self.pool.submit(os.getpid)  # starts the process

    def compute(self, run: PlannedRun) -> Outcome:
        started = now()
        for _ in range(ATTEMPTS):
            if self.stop.is_set():
                return Outcome(run.spec.run_id, "interrupted")
            try:
                outcome = self.pool.submit(_compute_in_process, run, self.job).result()
            except BrokenProcessPool:
                self._restart()
                continue
            if (
                outcome.state == "failed"
            ):  # after some errors of CUDA nothing works any more in that process
                self._restart()
            return outcome
        if self.stop.is_set():
            return Outcome(run.spec.run_id, "interrupted")
        error = RuntimeError(
            f"its process died {ATTEMPTS} times, killed from outside; most often memory has run out"
        )
        return Outcome.of(record_failure(run, error, started, self.job.execution.device))

    def _restart(self) -> None:
        self.close()
        if not self.stop.is_set():
            self._start()

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


_stop: Event
"""In a process of :class:`_Slot`: set when it shall stop."""


def _enter(stop: Event, threads: int | None) -> None:
    """Prepares a process: Ctrl-C is for its parent, which says when to stop, and without which it ends."""
    global _stop
    _stop = stop
    quiet_imports()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)
    if threads is not None:
        torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)


def _compute_in_process(run: PlannedRun, job: Job) -> Outcome:
    def advance(_step: int, _status: str) -> None:
        if _stop.is_set():
            signal.raise_signal(
                signal.SIGINT
            )  # the training loop finishes and saves a step before it heeds it

    try:
        return compute(run, job, advance)
    except KeyboardInterrupt:
        return Outcome(run.spec.run_id, "interrupted")
