"""Which runs are measured, one by one or several as one ensemble."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.experiments.prediction.chosen_runs import check_classes, usable_runs
from encoder_ablations.experiments.runs.trained.run import TrainedRun, trained_run
from encoder_ablations.utils.errors import InputError

Ensemble = list[TrainedRun]
"""Runs that predict together; often a single one."""


def is_study(folder: Path) -> bool:
    """Return whether a folder holds runs, and is none itself."""
    return (folder / "runs").is_dir()


def named_ensemble(folders: Sequence[Path]) -> Ensemble:
    """Return the runs in the folders, which predict together.

    Raises:
        InputError: a run is missing or unusable, or two of them have other classes or data.
    """
    runs = [trained_run(folder) for folder in dict.fromkeys(folders)]
    check_classes(runs)
    check_datasets(runs)
    return runs


def check_datasets(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs that were not trained on the same dataset.

    Raises:
        InputError: two of them differ.
    """
    first = runs[0].record.spec
    for run in runs[1:]:
        other = run.record.spec
        if other.dataset != first.dataset:
            raise InputError(
                "runs that are judged together need the same dataset with the same settings, but "
                f"{first.run_id} has '{first.dataset.name}' and {other.run_id} "
                f"has '{other.dataset.name}'."
            )


def ensembles_of_study(folder: Path, seeds: bool) -> tuple[list[Ensemble], list[str]]:
    """Return every finished run of a study, and a line for each other one.

    Args:
        folder: of the study.
        seeds: whether runs that differ in the seed alone are also measured together.

    Raises:
        InputError: no run has finished.
    """
    runs, problems = usable_runs(folder)
    found = [[run] for run in runs]
    if seeds:
        found += [each for each in by_all_but_the_seed(runs) if len(each) > 1]
    return found, problems


def by_all_but_the_seed(runs: Sequence[TrainedRun]) -> list[Ensemble]:
    """Return the runs in groups that differ in nothing but the seed."""
    groups: dict[str, Ensemble] = defaultdict(list)
    for run in runs:
        groups[run.record.spec.model_dump_json(exclude={"seed"})].append(run)
    return list(groups.values())
