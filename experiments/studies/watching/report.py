"""The report of a study that runs: when it is to be written again."""

import time
from collections.abc import Callable
from pathlib import Path

from encoder_ablations.experiments.studies.located import Located
from encoder_ablations.experiments.studies.plan_table import Standing

READ = (
    *("runs/*/record.json", "runs/*/confidence.json", "runs/*/transfer/*.json"),
    "ensembles/*.json",
)
"""What reports are made from."""

Write = Callable[[Path, int], object]
"""Writes the report of a folder, whose page reloads itself after so many seconds."""


class WatchedReport:
    """Writes the report of a study that runs when its records have changed.

    Args:
        folder: of the study.
        locate: returns its runs as they are now.
        every: seconds between two reports, at least.
        write: writes it.
    """

    def __init__(
        self, folder: Path, locate: Callable[[], Located], every: int, write: Write
    ) -> None:
        self.folder = folder
        self.locate = locate
        self.every = every
        self.write = write
        self.seen: dict[Path, int] = {}
        self.due = time.monotonic()

    def look(self) -> bool:
        """Look once; return whether the study has ended. Then nothing is written here."""
        located = self.locate()
        standing = Standing(located.runs, located.expected)
        if standing.has_ended(located.following):
            return True
        found = self.records()
        if found != self.seen and time.monotonic() >= self.due:
            self.write(self.folder, self.every)
            print(f"{standing.counts()}; report: {self.folder / 'report.html'}", flush=True)
            self.seen = found
            self.due = time.monotonic() + self.every
        return False

    def records(self) -> dict[Path, int]:
        """Return when each file was written that reports are made from, in nanoseconds."""
        found = {}
        for pattern in READ:
            for path in self.folder.glob(pattern):
                found[path] = path.stat().st_mtime_ns
        return found
