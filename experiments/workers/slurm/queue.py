"""What SLURM says of jobs: squeue of those that wait or run, sacct of those that have ended."""

import logging
import math
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from encoder_ablations.utils.texts import one_line, shortened

SECONDS = 60.0
"""How long squeue may take to answer."""
AGE = 10.0
"""How old an answer of squeue may be, in seconds: all users of a cluster ask the same server."""
CANCELLED, FAILED, OUT_OF_MEMORY = "CANCELLED", "FAILED", "OUT_OF_MEMORY"
ENDED = (CANCELLED, FAILED, OUT_OF_MEMORY, "COMPLETED", "TIMEOUT", "NODE_FAIL", "DEADLINE")
"""States of jobs that squeue may still list for some minutes after their end."""
KILLED = (OUT_OF_MEMORY, "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REVOKED", "DEADLINE")
"""Ends that are no fault of the job's script or of Python."""
LINES = 200
"""How many lines at the end of a log are looked at."""


def live_jobs(user: int) -> dict[str, str] | None:
    """Return the jobs of a user that wait or run: job id -> state such as "PENDING".

    None where squeue is not installed or does not answer: then nothing is known.
    """
    asked, jobs = _answers.get(user, (-math.inf, None))
    if time.monotonic() - asked > AGE:
        jobs = _ask(user)
        _answers[user] = time.monotonic(), jobs
    return jobs


_answers: dict[int, tuple[float, dict[str, str] | None]] = {}
"""User -> when squeue was asked (monotonic seconds), and what it said."""


def _ask(user: int) -> dict[str, str] | None:
    if shutil.which("squeue") is None:
        return None
    # --array: each element of an array on a line of its own, also while it waits
    command = ["squeue", "--noheader", "--array", f"--user={user}", "--format=%i|%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return None
    found = (line.strip().partition("|") for line in answer.stdout.splitlines() if "|" in line)
    return {job_id: state for job_id, _, state in found if state not in ENDED}


def ends(job_ids: Iterable[str]) -> dict[str, str]:
    """Return how jobs ended, where SLURM's accounting says so: job id -> e.g. "TIMEOUT"."""
    wanted = list(job_ids)
    if not wanted or shutil.which("sacct") is None:
        return {}
    from submitit import SlurmJob

    # a cluster without accounting has an sacct that refuses, of which submitit warns each time
    logging.getLogger("submitit").setLevel(logging.ERROR)
    watcher = SlurmJob.watcher
    for job_id in wanted:
        watcher.register_job(job_id)
    watcher.update()
    states = {job_id: watcher.get_state(job_id, mode="cache") for job_id in wanted}
    # "CANCELLED by 1000"
    words = {job_id: state.split()[0].rstrip("+") for job_id, state in states.items()}
    return {job_id: word for job_id, word in words.items() if word in {*ENDED, *KILLED}}


def last_words(log: Path) -> str:
    """Return the last line of a log that is not empty, shortened; "" if there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines[-LINES:]):
        # srun's own last line repeats that the task failed
        if line.strip() and not line.startswith("srun: "):
            return shortened(one_line(line.strip()))
    return ""
