"""Compute the runs of a study on this machine: one after the other, or in several processes."""

import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_end
from multiprocessing.synchronize import Event

import torch

from encoder_ablations.engine.processes import device_is_lost
from encoder_ablations.experiments.cli import quiet_imports
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.failure import record_failure
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers.display import Display
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import CannotContinue
from encoder_ablations.utils.interrupts import STOPPING

ATTEMPTS = 2
"""How often a run is begun if its process dies."""
LOOK_SECONDS = 1.0
SPAWN = multiprocessing.get_context("spawn")


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


def slots(count: int, execution: Execution) -> list[Execution]:
    """Return what each of ``count`` processes computes on.

    GPUs are given in turn. Without any, every process takes a share of the CPU's cores. A count of
    0 is one process for each GPU, or one without any.
    """
    count = count or max(1, torch.cuda.device_count())
    if execution.device not in ("auto", "cuda"):
        return [execution] * count
    gpus = torch.cuda.device_count()
    if gpus:
        return [replace(execution, device=f"cuda:{index % gpus}") for index in range(count)]
    if execution.device == "auto":
        execution = replace(execution, device="cpu")
    return [execution] * count


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
        self.stop = SPAWN.Event()
        with _signals_held_back():
            self.slots = [
                _Slot(replace(job, execution=place), self.stop, len(places)) for place in places
            ]
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


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Hold signals to stop back within the block; processes that start there inherit this."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


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
    """A process that computes one run after the other, and is replaced if it dies.

    The process is our own and not one of a ``ProcessPoolExecutor``: Python tells the pools' threads
    at exit to end, and prints a traceback if such a thread ends at that moment because its process
    was killed.
    """

    def __init__(self, job: Job, stop: Event, count: int) -> None:
        self.job = job
        self.stop = stop
        self.threads = None
        if "OMP_NUM_THREADS" not in os.environ:
            self.threads = max(1, len(os.sched_getaffinity(0)) // count)
        self._start()

    def _start(self) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(theirs, self.stop, self.threads))
        self.process.start()
        theirs.close()  # now held by the process alone, so that its death is seen here

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
            self.connection.send((run, self.job))
            # its children hold the connection open, too, for some time after its death
            while not self.connection.poll(LOOK_SECONDS) and self.process.is_alive():
                pass
            if not self.connection.poll():
                return None
            answer: Outcome | Exception = self.connection.recv()
        except (EOFError, ConnectionError):
            return None
        return answer

    def _restart(self) -> None:
        self.close()
        if not self.stop.is_set():
            self._start()

    def close(self) -> None:
        """Let the process end by itself: nobody will send it another run."""
        self.connection.close()

    def kill(self) -> None:
        """End the process and its children now, whatever they do."""
        if self.process.pid is not None:
            with suppress(ProcessLookupError):  # it leads no group before it has begun
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, stop: Event, threads: int | None) -> None:
    """Compute runs that arrive by ``connection`` until its other end is closed."""
    _enter(stop, threads)
    while True:
        try:
            run, job = connection.recv()
        except EOFError:
            return
        connection.send(_compute_in_process(run, job))


_stop: Event
"""In a process of :class:`_Slot`: set when its run must stop."""


def _enter(stop: Event, threads: int | None) -> None:
    """Prepare a process of :class:`_Slot`.

    Signals are left to the parent, which says when to stop. If it dies, so does the process.
    """
    global _stop
    _stop = stop
    quiet_imports()
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    os.setpgid(0, 0)
    if threads is not None:
        torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the end of the parent process, and end this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)


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
