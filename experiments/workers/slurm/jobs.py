"""What a job of SLURM does: its runs, one after the other, until it is told to end."""

import os
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from encoder_ablations.experiments.cli import quiet_imports
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers.display import Display
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.progress import read_progress
from encoder_ablations.utils.files import StorageError
from encoder_ablations.utils.interrupts import stopping_at_signals

Execute = Callable[[Sequence[PlannedRun], Job, Display], None]
"""Computes runs, and shows how they get on."""

Standing = list[tuple[bool, int]]
"""Of several runs: whether there is a record, and how many steps are done (-1: not begun)."""


def standing(folders: Iterable[Path]) -> Standing:
    """Return how far runs are, by what their folders hold; a job has moved on if this changes."""
    return list(map(_standing, folders))


def _standing(folder: Path) -> tuple[bool, int]:
    progress, steps = read_progress(folder, folder.name), -1
    if progress is not None:
        steps = progress.step
    return (folder / "record.json").exists(), steps


@dataclass(frozen=True)
class Chunk:
    """The runs of one job.

    Attributes:
        fruitless: how many jobs in a row have ended without a step of these runs.
    """

    runs: list[PlannedRun]
    fruitless: int = 0


@dataclass
class RunsOfJob:
    """Computes the runs of a job; what submitit pickles, calls, and starts again.

    SLURM sends SIGUSR2 before the time limit, and at a preemption if the cluster says so. The run
    then finishes its step and saves it. After that submitit asks SLURM to start the job again.
    SIGTERM, which ``scancel`` and preemptions send, stops it in the same way; then only SLURM
    itself starts it again.

    Attributes:
        execute: computes runs one after the other, in this process.
        runs: their folders are absolute.
        job: how they are computed.
        here: the folder that relative paths in a study are meant from.
    """

    execute: Execute
    runs: list[PlannedRun]
    job: Job
    here: str
    began: Standing | None = None

    def __call__(self) -> list[Outcome]:
        """Compute the runs that are left.

        Raises:
            StorageError: the folder is not there, or results cannot be written.
            CannotContinue: a run has left the device unusable.
        """
        self._enter()
        self.began = self.standing()
        start_again: Any = signal.getsignal(signal.SIGUSR2)
        warned: list[int] = []
        signal.signal(signal.SIGUSR2, partial(_end_after_step, warned))
        try:
            with stopping_at_signals():
                return self._compute()
        except KeyboardInterrupt:
            if not warned:
                raise
            start_again(signal.SIGUSR2, None)
            raise

    def checkpoint(self) -> Any:
        """Return what submitit starts again; None if this job has got nowhere.

        A job whose time is too short for a single step would otherwise start for ever.
        """
        from submitit.helpers import DelayedSubmission

        if self.began == self.standing():
            print("not started again: the job has done no step in its time", flush=True)
            return None
        return DelayedSubmission(self)

    def standing(self) -> Standing:
        """Return how far its runs are."""
        return standing(run.folder for run in self.runs)

    def _enter(self) -> None:
        try:
            os.chdir(self.here)
        except OSError as error:
            raise StorageError(
                f"the node {socket.gethostname()} cannot enter {self.here}: {error.strerror}."
            ) from error
        # a shell may have started this process with Ctrl-C ignored; the training loop heeds it
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _compute(self) -> list[Outcome]:
        quiet_imports()
        with Display(self.runs) as display:
            self.execute(self.runs, self.job, display)
            return display.outcomes


def _end_after_step(warned: list[int], number: int, _frame: FrameType | None) -> None:
    """Note the signal, and stop as at Ctrl-C: the training loop saves its step before."""
    warned.append(number)
    signal.raise_signal(signal.SIGINT)


def placed(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs with absolute folders and without their records, for a job."""
    return [PlannedRun(run.spec, Path(run.folder).absolute(), None) for run in runs]
