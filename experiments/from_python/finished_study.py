"""The results of a study."""

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder_ablations.experiments.from_python.finished_runs import Ensemble, Run
from encoder_ablations.experiments.prediction.chosen_runs import (
    best_of_study,
    chosen_runs,
    usable_runs,
)
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.page.runs_table import run_values
from encoder_ablations.experiments.runs.model import Weighting
from encoder_ablations.utils.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame


class StudyResults:
    """The finished runs of a study, which may still be going on.

    Args:
        folder: of the study.
        device: where models compute, "auto", "cpu", "cuda" or "cuda:N".
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self.folder = folder
        self._device = device

    def results(self) -> "DataFrame":
        """Return a row for every run, failed ones too, as in ``runs.csv``.

        Scores such as ``metrics.miou`` are 0..1. A run without a value, such as the score of a
        failed one, has None there.

        Raises:
            InputError: there is no record that can be read.
        """
        # imported here: it takes a second, and only this function needs it
        from pandas import DataFrame

        values = list(run_values(collect(self.folder)))
        # a run has only some of the columns
        columns = dict.fromkeys(chain.from_iterable(values))
        rows = [[_without_blank(row.get(name)) for name in columns] for row in values]
        return DataFrame(rows, columns=list(columns))

    def runs(self) -> list[Run]:
        """Return the finished runs that can predict, by their folders' names.

        Raises:
            InputError: no run has finished.
        """
        found, _ = usable_runs(self.folder)
        return [Run(run, self._device) for run in found]

    def best(self) -> Run:
        """Return the finished run with the best validation score; the first of equals.

        Raises:
            InputError: no run has finished.
        """
        return Run(best_of_study(self.folder), self._device)

    def ensemble(self, *names: str, weighting: Weighting = "equal") -> Ensemble:
        """Return several runs that predict together.

        Args:
            names: runs by the beginning of their folders' names, in which ``*`` stands for any
                letters; without names all finished runs.
            weighting: "equal", or "validation": every model counts by its best validation score.

        Raises:
            InputError: a run is missing or unusable, or the runs have different classes.
        """
        runs = chosen_runs(self.folder, names or ("*",))
        return Ensemble(runs, self._device, weighting)


def _without_blank(value: Any) -> Any:
    """Return a value of a record; None for an empty text."""
    return None if value == "" else value


def load_study(folder: str | Path, *, device: str = "auto") -> StudyResults:
    """Return the results of a study.

    Args:
        folder: ``outputs/STUDY``.
        device: where models compute, "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: there is no such study. A study's YAML is read by ``load_study_spec``.
    """
    folder = Path(folder)
    if not (folder / "runs").is_dir():
        raise InputError(
            f"{folder} is not the folder of a study, which holds runs/. A study's YAML is read by "
            "load_study_spec, and one run by load_run."
        )
    return StudyResults(folder, device)
