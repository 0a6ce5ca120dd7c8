"""Follow the jobs of a study, and submit again what has been stopped, until all runs have ended."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from encoder_ablations.experiments.runs.failure import record_failure
from encoder_ablations.experiments.runs.folder import CONFIG, load_run
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers.display import Display
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.locks import is_held
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.slurm import queue
from encoder_ablations.experiments.workers.slurm.jobs import Chunk, standing
from encoder_ablations.experiments.workers.slurm.ledger import JobEntry, Ledger
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

FRUITLESS = 3
"""How many jobs in a row may end without a step of a run before the run counts as failed."""
LOOK_SECONDS = 5.0
SETTLE_SECONDS = 20.0
"""What a job has written may take this long to arrive here after its end."""
LOOKED_AT = 64
NOTHING_SAID = "no word in its log"


class Submits(Protocol):
    """Submits runs of a study."""

    ledger: Ledger

    def chunks(self, runs: Sequence[PlannedRun]) -> list[Chunk]:
        """Divide runs among jobs."""

    def submit(self, chunks: Sequence[Chunk]) -> list[JobEntry]:
        """Submit a job for each chunk."""


def run_on_slurm(
    runs: Sequence[PlannedRun],
    job: Job,
    display: Display,
    submitter_of: Callable[[Job, Path], Submits],
    wait: bool = True,
) -> None:
    """Submit the runs that no job has, and follow all until they have ended.

    Ctrl-C leaves the jobs as they are; the same command follows them again.

    Args:
        runs: of one study.
        job: how they are computed.
        display: shows how they get on.
        submitter_of: returns what submits runs, from how they are computed and the study's folder.
        wait: whether to follow them.

    Raises:
        InputError: SLURM refuses the jobs.
    """
    study_folder = runs[0].folder.parents[1]
    follower = Follower(runs, display, submitter_of(job, study_folder))
    follower.begin()
    if not wait:
        print(f"'ablate status {study_folder}' follows; the same command writes the report.")
        return
    try:
        while follower.look():
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        print(
            f"the jobs go on without this command; 'ablate status {study_folder}' follows, "
            "scancel ends them.",
            file=sys.stderr,
        )
        raise


class Follower:
    """Sees the ends of runs and jobs.

    Attributes:
        open: the runs that have not ended: run id -> run.
        latest: the job that each run was handed to last: run id -> job.
        before: when the record of a run was written that was there at the start.
        gone: when a job was first missing among those that wait or run (monotonic seconds).
    """

    def __init__(self, runs: Sequence[PlannedRun], display: Display, submitter: Submits) -> None:
        self.open = {run.spec.run_id: run for run in runs}
        self.before = {run.spec.run_id: _written(run) for run in runs}
        self.runs_folder = runs[0].folder.parent
        self.display = display
        self.submitter = submitter
        self.ledger = submitter.ledger
        self.latest: dict[str, JobEntry] = {}
        self.gone: dict[str, float] = {}

    def begin(self) -> None:
        """Submit all runs but those that a job of an earlier command has."""
        handed: set[str] = set()
        latest = self.ledger.latest()
        if latest:
            live = queue.live_jobs(self.ledger.owner()) or {}
            handed = {run_id for run_id, entry in latest.items() if entry.job_id in live}
        new = [run for run_id, run in self.open.items() if run_id not in handed]
        waiting = len(self.open) - len(new)
        if waiting:
            self._say(f"{plural(waiting, 'run', 'has/have')} a job already")
        if new:
            self._submit(self.submitter.chunks(new))

    def look(self) -> bool:
        """Look once; return whether runs are left."""
        self._notice_records()
        self._notice_ends()
        self.display.look(list(self.open.values())[:LOOKED_AT])
        return bool(self.open)

    def _notice_records(self) -> None:
        for run_id, run in list(self.open.items()):
            written = _written(run)
            if written is not None and written != self.before[run_id]:
                self._end(_recorded(run))

    def _notice_ends(self) -> None:
        """Find jobs that have ended although runs of theirs have not."""
        live = queue.live_jobs(self.ledger.owner())
        if live is None:
            return
        self.latest |= self.ledger.latest()
        left: dict[str, JobEntry] = {}
        for run_id, run in self.open.items():
            entry = self.latest[run_id]
            # another command may compute it, too
            if entry.job_id not in live and not is_held(run.folder):
                left[entry.job_id] = entry
        seen = time.monotonic()
        self.gone = {job_id: self.gone.get(job_id, seen) for job_id in left}
        ended = [left[job_id] for job_id, at in self.gone.items() if seen - at >= SETTLE_SECONDS]
        if ended:
            self._judge(ended)

    def _judge(self, ended: Sequence[JobEntry]) -> None:
        """Submit the rest of jobs again, or give them up."""
        words = queue.ends(entry.job_id for entry in ended)
        again: list[Chunk] = []
        for entry in ended:
            runs = [self.open[run_id] for run_id in entry.runs if run_id in self.open]
            again += self._rest_of(entry, runs, words)
        if again:
            self._submit(again)

    def _rest_of(
        self, entry: JobEntry, runs: list[PlannedRun], words: Mapping[str, str]
    ) -> list[Chunk]:
        """Return what is submitted again of an ended job; end the other runs.

        Args:
            entry: the job.
            runs: those of its runs that have not ended.
            words: how jobs ended, as far as SLURM says so.
        """
        word = words.get(entry.job_id, "")
        if word == queue.CANCELLED:
            for run in runs:
                self._end(Outcome(run.spec.run_id, "interrupted"))
            return []
        reason = self._reason(entry, word)
        if self._moved(entry):
            self._say(f"{reason}; submitted again")
            return [Chunk(runs)]
        if self._could_not_begin(entry, word):
            for run in runs:
                self._end(Outcome(run.spec.run_id, "failed", message=reason))
            return []
        if entry.fruitless + 1 < FRUITLESS:
            self._say(f"{reason}; submitted again")
            return [Chunk(runs, entry.fruitless + 1)]
        first, *others = runs
        self._end(self._given_up(first, reason))
        return [Chunk(others)] if others else []

    def _moved(self, entry: JobEntry) -> bool:
        """Return whether the job has done a step or ended a run."""
        return standing(self.runs_folder / run_id for run_id in entry.runs) != entry.standing

    def _could_not_begin(self, entry: JobEntry, word: str) -> bool:
        """Return whether the job failed by itself: a line of its script, an import, no device."""
        has_result = (self.ledger.folder / f"{entry.job_id}_0_result.pkl").exists()
        return word not in queue.KILLED and (has_result or word == queue.FAILED)

    def _reason(self, entry: JobEntry, word: str) -> str:
        """Say which job ended, how, and where its log is."""
        log = self.ledger.log(entry.job_id)
        how = ": ".join(filter(None, (word, queue.last_words(log))))
        return f"job {entry.job_id} ended before its runs ({how or NOTHING_SAID}); log: {log}"

    def _given_up(self, run: PlannedRun, reason: str) -> Outcome:
        """Return the outcome of a run whose jobs get nowhere; it is recorded if it has begun."""
        message = f"{FRUITLESS} jobs in a row did no step of it; the last {reason}"
        if not (run.folder / CONFIG).exists():
            return Outcome(run.spec.run_id, "failed", message=message)
        error = RuntimeError(message)
        return Outcome.of(record_failure(run.spec, run.folder, error, now(), "cpu"))

    def _submit(self, chunks: Sequence[Chunk]) -> None:
        entries = self.submitter.submit(chunks)
        count = sum(len(entry.runs) for entry in entries)
        arrays = dict.fromkeys(entry.job_id.partition("_")[0] for entry in entries)
        jobs = plural(len(entries), "job")
        self._say(
            f"submitted {plural(count, 'run')} as {jobs} of SLURM ({', '.join(arrays)}); "
            f"logs: {self.ledger.folder}"
        )

    def _end(self, outcome: Outcome) -> None:
        del self.open[outcome.run_id]
        self.display.done(outcome)

    def _say(self, text: str) -> None:
        self.display.say(text)


def _written(run: PlannedRun) -> int | None:
    """Return when the record of a run was written, in nanoseconds; None if there is none."""
    try:
        return (run.folder / "record.json").stat().st_mtime_ns
    except OSError:
        return None


def _recorded(run: PlannedRun) -> Outcome:
    """Return what the record of a run says, which is there."""
    try:
        record = load_run(run.folder)
    except InputError as error:
        return Outcome(run.spec.run_id, "failed", message=str(error))
    assert record is not None
    began, ended = map(datetime.fromisoformat, (record.started, record.finished))
    return Outcome.of(record, (ended - began).total_seconds())
