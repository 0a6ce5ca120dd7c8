"""Which finished runs predict: one that is named, a study's best one, or several together."""

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from encoder_ablations.experiments.runs.federated.arms import federation_title
from encoder_ablations.experiments.runs.spec import NO_PRIVACY
from encoder_ablations.experiments.runs.trained.run import TrainedRun, ranked, trained_run
from encoder_ablations.utils.errors import InputError


def usable_runs(folder: Path) -> tuple[list[TrainedRun], list[str]]:
    """Return the finished runs of a study, and a line for each other one; no trials of tuning.

    Raises:
        InputError: no run has finished.
    """
    runs = []
    problems = []
    for path in sorted(folder.glob("runs/*/")):
        try:
            runs.append(trained_run(path))
        except InputError as error:
            problems.append(str(error))
    runs = [run for run in runs if not run.record.spec.is_trial]
    if not runs:
        raise InputError([*problems, f"{folder} holds no run yet."][0])
    return runs, problems


def best_of_study(folder: Path) -> TrainedRun:
    """Return the finished run of a study with the best validation score; the first of equals.

    Lines on stderr name runs without such a score, and the federation of the run if the study has
    several.

    Raises:
        InputError: no run has finished, or some promise privacy that others do not.
    """
    runs, _ = usable_runs(folder)
    _check_promises(folder, runs)
    in_order, note = ranked(runs)
    if note is not None:
        print(f"note: {note} --runs names one.", file=sys.stderr)
    best = in_order[0]
    arms = {federation_title(run.record.spec.federation) for run in runs}
    if len(arms) > 1:
        arm = federation_title(best.record.spec.federation)
        print(
            f"note: the best run is of the arm '{arm}' of "
            f"{len(arms)} federations. --runs names another.",
            file=sys.stderr,
        )
    return best


def _check_promises(folder: Path, runs: Sequence[TrainedRun]) -> None:
    """Refuse to choose among runs that promise different things: the best one promises least.

    Raises:
        InputError: they do.
    """
    promises = list(dict.fromkeys(run.record.spec.privacy_title for run in runs))
    if len(promises) > 1:
        private = next(each for each in promises if each != NO_PRIVACY)
        raise InputError(
            f"{folder} has runs with different privacy ({', '.join(promises)}), and the best score "
            "is no reason to choose the weakest. Name runs by --runs, such as --runs "
            f"'*-{private.replace(' ', '-')}-*'."
        )


def chosen_runs(folder: Path, names: Sequence[str] = ()) -> list[TrainedRun]:
    """Return the runs that predict together.

    Args:
        folder: of a run, or of a study.
        names: runs of the study by the beginning of their names, in which ``*`` stands for any
            letters; they become one ensemble. () = the run itself, or the study's best one.

    Raises:
        InputError: a run is missing or unusable, the runs have different classes, or a study has
            runs with different privacy and none is named.
    """
    if not (folder / "runs").is_dir():
        if names:
            raise InputError(f"--runs chooses runs of a study, but {folder} is not one.")
        return [trained_run(folder)]
    if not names:
        return [best_of_study(folder)]
    runs = [trained_run(path) for path in _named(folder, names)]
    check_classes(runs)
    promises = dict.fromkeys(run.record.spec.privacy_title for run in runs)
    if len(promises) > 1:
        print(
            f"note: these runs have different privacy ({', '.join(promises)}); together they "
            "promise no more than the weakest.",
            file=sys.stderr,
        )
    return runs


def _named(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders of the runs that the names mean, each once.

    Raises:
        InputError: a name means no run.
    """
    runs = [path for path in sorted(folder.glob("runs/*")) if path.is_dir()]
    found: dict[Path, None] = {}
    for name in names:
        matching = [path for path in runs if fnmatchcase(path.name, f"{name}*")]
        if not matching:
            raise InputError(
                f"{folder} has no run '{name}'. Name runs by the beginning of their folders' names "
                f"in {folder / 'runs'}; * stands for any letters."
            )
        found.update(dict.fromkeys(matching))
    return list(found)


def check_classes(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs that predict different classes.

    Raises:
        InputError: two of them do.
    """
    first = runs[0].record.spec.dataset
    for run in runs[1:]:
        other = run.record.spec.dataset
        if other.classes != first.classes:
            raise InputError(
                "an ensemble needs runs of the same classes, but "
                f"{runs[0].record.run_id} has {', '.join(first.classes)} and {run.record.run_id} "
                f"has {', '.join(other.classes)}."
            )
        if other.image_classes != first.image_classes:
            raise InputError(
                "an ensemble needs runs with the same image_classes, but those of "
                f"{runs[0].record.run_id} and {run.record.run_id} differ."
            )
