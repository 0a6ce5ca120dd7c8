"""The finished runs of a study that are tested on another dataset."""

from pathlib import Path

from encoder_ablations.experiments.runs.folder import load_run
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.utils.errors import InputError


def finished_runs(folder: Path, dataset: str) -> tuple[list[tuple[Path, RunRecord]], list[str]]:
    """Return the finished runs of a study, or the one run that ``folder`` is; no trials of tuning.

    Returns:
        The runs with their folders, and a line for each other one that cannot be used.

    Raises:
        InputError: no run is finished.
    """
    folders = [folder]
    if (folder / "runs").is_dir():
        folders = sorted(folder.glob("runs/*/"))
    finished, problems = [], []
    for path in folders:
        try:
            record = load_run(path)
        except InputError as error:
            problems.append(str(error))
            continue
        if record is not None and record.status == "finished" and not record.spec.is_trial:
            finished.append((path, record))
    if not finished:
        nothing = f"{folder} has no finished run to evaluate on {dataset}."
        raise InputError([*problems, nothing][0])
    return finished, problems
