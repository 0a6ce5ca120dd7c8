"""Compute the runs of a study on this machine: one after the other, or in several processes."""

import queue
import signal
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

from encoder_ablations.engine.processes import device_is_lost
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.failure import record_failure
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers import child_process
from encoder_ablations.experiments.workers.child_process import (
    ATTEMPTS,
    DEATH,
    LOOK_SECONDS,
    ChildProcess,
    threads_of_each,
)
from encoder_ablations.experiments.workers.display import Display
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import CannotContinue


def run_here(runs: Sequence[PlannedRun], job: Job, display: Display) -> None:
    """Compute one run after the other, in this process.

    Raises:
        CannotContinue: a run failed and left the device unusable, so all later ones would fail.
    """
    for run in runs:
        display.begin(run)
        outcome = job.compute(run, job, partial(display.advance, run))
        display.done(outcome)
        if outcome.state == "failed" and device_is_lost():
            raise CannotContinue(
                f"the GPU no longer works in this process since {outcome.run_id} failed "
                f"({outcome.message}). That is recorded; the same command goes on with what is "
                "left."
            )


def run_in_processes(
    runs: Sequence[PlannedRun], job: Job, display: Display, places: Sequence[Execution]
) -> None:
    """Compute as many runs at a time as there are ``places``.

    Ctrl-C, SIGTERM and SIGHUP stop each of them after the step that it is in.

    Raises:
        InputError: results cannot be written.
    """
    pool = _Pool(job, places)
    try:
        with ThreadPoolExecutor(len(places)) as threads:
            futures = {threads.submit(pool.compute, run): run for run in runs}
            try:
                _follow(futures, display)
            except BaseException:
                pool.stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
                _let_end([future for future in futures if not future.cancelled()])
                # Nothing is left to be saved, and it takes seconds until they end by themselves.
                pool.kill()
                raise
    finally:  # after the threads have ended, which read from the slots' connections
        pool.close()


class _Pool:
    """A process for every place, each of which computes one run at a time.

    Attributes:
        stop: set when all processes must stop after their step.
    """

    def __init__(self, job: Job, places: Sequence[Execution]) -> None:
        self.stop = child_process.SPAWN.Event()
        threads = threads_of_each(len(places))
        self.slots = [_Slot(replace(job, execution=place), self.stop, threads) for place in places]
        self.free: queue.Queue[_Slot] = queue.Queue()
        for slot in self.slots:
            self.free.put(slot)

    def compute(self, run: PlannedRun) -> Outcome:
        """Compute a run in a process that is free; as many threads as places may ask for it."""
        slot = self.free.get()
        try:
            return slot.compute(run)
        finally:
            self.free.put(slot)

    def kill(self) -> None:
        """End all processes now, whatever they do."""
        for slot in self.slots:
            slot.kill()

    def close(self) -> None:
        """Let all processes end by themselves."""
        for slot in self.slots:
            slot.close()


def _follow(futures: dict[Future[Outcome], PlannedRun], display: Display) -> None:
    """Show how the runs get on until all have ended."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            display.done(future.result())
        display.look([futures[future] for future in pending if future.running()])


def _let_end(futures: Sequence[Future[Outcome]]) -> None:
    """Wait until every run has saved its step, or for a second Ctrl-C."""
    print(
        "stopping: every run finishes and saves its step (Ctrl-C again: at once)", file=sys.stderr
    )
    with suppress(KeyboardInterrupt):
        wait(futures)


class _Slot:
    """A process that computes one run after the other, and is replaced if it dies."""

    def __init__(self, job: Job, stop: Event, threads: int | None) -> None:
        self.job = job
        self.stop = stop
        self.threads = threads
        self._start()

    def _start(self) -> None:
        self.child = ChildProcess(_serve, self.stop, threads=self.threads)

    def compute(self, run: PlannedRun) -> Outcome:
        """Return what became of ``run``; a failure is also recorded in its folder."""
        started = now()
        for _ in range(ATTEMPTS):
            if self.stop.is_set():
                break
            answer = self._ask(run)
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                self.kill()  # what is left of it: its children, and its number
            # after some errors of CUDA nothing works in a process any more
            if answer is None or answer.state == "failed":
                self._restart()
            if answer is not None:
                return answer
        if self.stop.is_set():
            return Outcome(run.spec.run_id, "interrupted")
        error = RuntimeError(
            f"its process died {ATTEMPTS} times, killed from outside; most often memory has run out"
        )
        device = self.job.execution.device
        return Outcome.of(record_failure(run.spec, run.folder, error, started, device))

    def _ask(self, run: PlannedRun) -> Outcome | Exception | None:
        """Return what the process says of ``run``; None if it has died."""
        try:
            self.child.connection.send((run, self.job))
            # its children hold the connection open, too, for some time after its death
            while not self.child.connection.poll(LOOK_SECONDS) and self.child.process.is_alive():
                pass
            if not self.child.connection.poll():
                return None
            answer: Outcome | Exception = self.child.connection.recv()
        except DEATH:
            return None
        return answer

    def _restart(self) -> None:
        self.close()
        if not self.stop.is_set():
            self._start()

    def close(self) -> None:
        """Let the process end by itself: nobody will send it another run."""
        self.child.close()

    def kill(self) -> None:
        """End the process and its children now, whatever they do."""
        self.child.kill()


def _serve(connection: Connection, stop: Event) -> None:
    """Compute runs that arrive by ``connection`` until its other end is closed."""
    global _stop
    _stop = stop
    while True:
        try:
            run, job = connection.recv()
        except EOFError:
            return
        connection.send(_compute_in_process(run, job))


_stop: Event
"""In a process of :class:`_Slot`: set when its run must stop."""


def _compute_in_process(run: PlannedRun, job: Job) -> Outcome | Exception:
    """Compute a run in a process of :class:`_Slot`; return what the parent must raise."""

    def advance(_step: int, _status: str) -> None:
        if _stop.is_set():
            # The training loop finishes and saves the step before it heeds the signal.
            signal.raise_signal(signal.SIGINT)

    try:
        return job.compute(run, job, advance)
    except KeyboardInterrupt:
        return Outcome(run.spec.run_id, "interrupted")
    except Exception as error:  # noqa: BLE001 - the parent raises it
        error.add_note(traceback.format_exc())  # pickling drops the traceback
        return error
