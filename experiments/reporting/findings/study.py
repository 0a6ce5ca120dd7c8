"""Everything that was found of a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS, MainMetric
from encoder_ablations.experiments.confidence.record import ConfidenceRecord
from encoder_ablations.experiments.reporting.findings.groups import FinishedRun, RunGroup, Setting
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.transfer.record import TransferRecord


@dataclass(frozen=True)
class Study:
    """Everything that was found below ``folder``.

    Attributes:
        name: name of the folder.
        folder: holds ``runs/``.
        records: finished and failed runs, by fraction and seed.
        settings: the records, sorted.
        titles: run id -> the encoder's title, made unique.
        unfinished: run folders without a record: still running, or interrupted.
        not_begun: run ids of the saved study's runs that have no folder.
        damaged: files that could not be used and why, one line each.
        transfers: run id -> that run tested on other datasets.
        confidences: run id -> how far its probabilities can be relied on, where measured.
        ensembles: the same of several runs together.
        trials: records of trials of tuning, which no comparison holds.
        following: what more may follow from the results so far, one sentence each.
        refresh: after how many seconds the page loads itself again; None = never.
    """

    name: str
    folder: Path
    records: tuple[RunRecord, ...]
    settings: tuple[Setting, ...]
    titles: dict[str, str]
    unfinished: tuple[str, ...]
    damaged: tuple[str, ...] = ()
    not_begun: tuple[str, ...] = ()
    transfers: Mapping[str, Sequence[TransferRecord]] = field(default_factory=dict)
    confidences: Mapping[str, ConfidenceRecord] = field(default_factory=dict)
    ensembles: Sequence[ConfidenceRecord] = ()
    trials: tuple[RunRecord, ...] = ()
    following: tuple[str, ...] = ()
    refresh: int | None = None

    @property
    def task(self) -> Task:
        """Return what all runs of the study predict."""
        return self.records[0].task

    @property
    def metric(self) -> MainMetric:
        """Return what the runs are judged by."""
        return MAIN_METRICS[self.task]

    @property
    def groups(self) -> list[RunGroup]:
        """Return the groups of all settings."""
        return [group for setting in self.settings for group in setting.groups]

    @property
    def failed(self) -> list[RunRecord]:
        """Return the records of failed runs."""
        return [record for record in self.records if record.status == "failed"]

    @cached_property
    def finished(self) -> list[FinishedRun]:
        """Return the records of finished runs."""
        return [FinishedRun.of(record) for record in self.records if record.status == "finished"]

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / run_id
