"""What ``ablate status`` says of the jobs of a study."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers.slurm import queue
from encoder_ablations.experiments.workers.slurm.ledger import Ledger
from encoder_ablations.utils.texts import plural

WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
"""States of jobs that compute nothing yet."""
SHOWN = 10
"""How many failed jobs are named."""


@dataclass(frozen=True)
class Jobs:
    """The jobs that unfinished runs of a study were handed to last.

    Attributes:
        known: False where squeue does not answer on this machine.
        pending: how many wait.
        running: how many compute.
        failed: those that have ended although runs of theirs have no record.
    """

    known: bool
    pending: int
    running: int
    failed: list[str]
    ledger: Ledger

    def lines(self) -> list[str]:
        """Return what is printed of them."""
        total = self.pending + self.running + len(self.failed)
        if not self.known:
            return [
                f"  {plural(total, 'job')} of SLURM submitted; squeue does not answer on this "
                "machine, so nothing says whether they wait, run or have failed"
            ]
        states = {"running": self.running, "pending": self.pending, "failed": len(self.failed)}
        counted = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        lines = [f"  {plural(total, 'job')} of SLURM: {counted}"]
        lines += [self._failed_line(job_id) for job_id in self.failed[:SHOWN]]
        if len(self.failed) > SHOWN:
            lines.append(f"  … and {len(self.failed) - SHOWN} more failed jobs")
        return lines

    def _failed_line(self, job_id: str) -> str:
        log = self.ledger.log(job_id)
        said = queue.last_words(log) or "no word in its log"
        return f"  job {job_id} ended before its runs: {said}; log: {log}"


def jobs_of(study_folder: Path, runs: Sequence[PlannedRun]) -> Jobs | None:
    """Return the jobs of the unfinished ``runs``; None if no job was submitted for them."""
    ledger = Ledger.of_study(study_folder)
    latest = ledger.latest()
    handed = [run for run in runs if run.state != "finished" and run.spec.run_id in latest]
    entries = {latest[run.spec.run_id].job_id for run in handed}
    # a job whose runs all have records has done its work, also where one of them failed
    unended = dict.fromkeys(latest[run.spec.run_id].job_id for run in handed if not run.record)
    if not handed:
        return None
    live = queue.live_jobs(ledger.owner())
    if live is None:
        return Jobs(False, len(unended), 0, [], ledger)
    states = [live[job_id] for job_id in entries if job_id in live]
    waiting = Counter(state in WAITING for state in states)
    failed = [job_id for job_id in unended if job_id not in live]
    return Jobs(True, waiting[True], waiting[False], failed, ledger)
