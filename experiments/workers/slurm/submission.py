"""Hand runs to SLURM as an array of jobs, and note which job has which runs."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers.job import LOCK_SECONDS, Job
from encoder_ablations.experiments.workers.slurm.jobs import (
    Chunk,
    Execute,
    RunsOfJob,
    placed,
    standing,
)
from encoder_ablations.experiments.workers.slurm.ledger import JobEntry, Ledger
from encoder_ablations.experiments.workers.slurm.parameters import Slurm
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import ensure_writable
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.texts import one_line

STARTS = 1000
"""How often SLURM may start a job again; the job itself says when it gets nowhere."""
LONGEST_ARRAY = 1000
"""Elements of an array: SLURM's default of MaxArraySize is 1001."""


def require_slurm() -> None:
    """Check that jobs can be submitted from this machine.

    Raises:
        InputError: submitit or SLURM is missing.
    """
    try:
        import submitit  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise missing("submitit", error) from error
    absent = [program for program in ("sbatch", "srun", "squeue") if shutil.which(program) is None]
    if absent:
        raise InputError(
            f"--slurm: {', '.join(absent)} cannot be found on this machine. Start the command on a "
            "login node of the cluster; --processes runs several at a time here."
        )


def make_executor(slurm: Slurm, folder: Path, name: str) -> Any:
    """Return submitit's executor for SLURM.

    Args:
        slurm: the parameters of its jobs.
        folder: for scripts, logs and results of jobs.
        name: of the jobs, unless the parameters have one.
    """
    from submitit import SlurmExecutor

    executor = SlurmExecutor(folder, max_num_timeout=STARTS)
    executor.update_parameters(**{"job_name": name, **slurm.parameters})
    return executor


class Submitter:
    """Submits runs of one study.

    Args:
        slurm: how runs become jobs.
        execute: what a job computes its runs by.
        job: how runs are computed.
        study_folder: output folder of the study.
    """

    def __init__(self, slurm: Slurm, execute: Execute, job: Job, study_folder: Path) -> None:
        folder = study_folder.absolute()
        self.ledger = Ledger.of_study(folder)
        self.executor = make_executor(slurm, self.ledger.folder, f"ablate-{folder.name}")
        self.execute = execute
        self.job = replace(job, lock_seconds=LOCK_SECONDS)
        self.size = slurm.runs_per_job

    def chunks(self, runs: Sequence[PlannedRun]) -> list[Chunk]:
        """Divide runs among jobs, in their order."""
        starts = range(0, len(runs), self.size)
        return [Chunk(list(runs[start : start + self.size])) for start in starts]

    def submit(self, chunks: Sequence[Chunk]) -> list[JobEntry]:
        """Submit a job for each chunk, as arrays.

        Raises:
            InputError: SLURM refuses them, or the folder cannot be written to.
        """
        ensure_writable(self.ledger.folder)
        entries = []
        for start in range(0, len(chunks), LONGEST_ARRAY):
            entries += self._submit_array(chunks[start : start + LONGEST_ARRAY])
        return entries

    def _submit_array(self, chunks: Sequence[Chunk]) -> list[JobEntry]:
        here = str(Path.cwd())
        calls = [RunsOfJob(self.execute, placed(chunk.runs), self.job, here) for chunk in chunks]
        # how far the runs are before the jobs could begin
        before = [standing(run.folder for run in chunk.runs) for chunk in chunks]
        jobs = self._accepted(calls)
        entries = []
        for job, chunk, seen in zip(jobs, chunks, before, strict=True):
            names = [run.spec.run_id for run in chunk.runs]
            entries.append(
                JobEntry(job_id=job.job_id, runs=names, fruitless=chunk.fruitless, standing=seen)
            )
        self.ledger.add(entries)
        return entries

    def _accepted(self, calls: Sequence[RunsOfJob]) -> Any:
        """Return the jobs of an array.

        Raises:
            InputError: sbatch refuses it.
        """
        from submitit.core.utils import FailedJobError

        try:
            return self.executor.submit_array(calls)
        except FailedJobError as error:
            reason = one_line(str(error).strip()).rstrip(".")
            raise InputError(
                f"SLURM refuses the jobs ({reason}). Change --slurm; sinfo lists partitions."
            ) from error
