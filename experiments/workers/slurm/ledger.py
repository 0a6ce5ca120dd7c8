"""Which job has which runs, written beside the jobs' logs: ``<study>/slurm/*.jobs.json``."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from encoder_ablations.utils.files import write_json

FOLDER = "slurm"
SUFFIX = ".jobs.json"


class JobEntry(BaseModel):
    """A job and its runs.

    Attributes:
        runs: run ids, in the order in which they are computed.
        fruitless: how many jobs in a row, before this one, have ended without a step of these runs.
        standing: how far the runs were at submission: (has a record, steps done or -1).
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    runs: list[str]
    fruitless: int = 0
    standing: list[tuple[bool, int]] = []


class Submission(BaseModel):
    """The jobs of one array, or one job.

    Attributes:
        number: counts the submissions of a study from 1.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    jobs: list[JobEntry]


@dataclass(frozen=True)
class Ledger:
    """All submissions of a study.

    Attributes:
        folder: of the jobs: their scripts, logs and results.
    """

    folder: Path

    @classmethod
    def of_study(cls, study_folder: Path) -> "Ledger":
        """Return the ledger of a study's output folder, which may have none yet."""
        return cls(study_folder / FOLDER)

    def read(self) -> list[Submission]:
        """Return the submissions in their order; what cannot be read is left out."""
        found = map(_read, self.folder.glob(f"*{SUFFIX}"))
        return sorted(filter(None, found), key=lambda submission: submission.number)

    def add(self, jobs: Iterable[JobEntry]) -> None:
        """Write a further submission."""
        number = 1 + max((each.number for each in self.read()), default=0)
        submission = Submission(number=number, jobs=list(jobs))
        # named by its job, so that two commands that submit at once do not write the same file
        array_id = submission.jobs[0].job_id.partition("_")[0]
        write_json(self.folder / f"{array_id}{SUFFIX}", submission.model_dump(mode="json"))

    def latest(self) -> dict[str, JobEntry]:
        """Return the job that each run was handed to last: run id -> job."""
        jobs: dict[str, JobEntry] = {}
        for submission in self.read():
            for entry in submission.jobs:
                jobs |= dict.fromkeys(entry.runs, entry)
        return jobs

    def owner(self) -> int:
        """Return the number of the user who submitted."""
        return os.stat(self.folder).st_uid

    def log(self, job_id: str) -> Path:
        """Return the log of a job that says most: its errors, or what it printed otherwise."""
        errors = self.folder / f"{job_id}_0_log.err"
        output = self.folder / f"{job_id}_0_log.out"
        if _size(errors) or not _size(output):
            return errors
        return output


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path) -> Submission | None:
    try:
        return Submission.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
