"""Whether all runs that are compared have seen the same files. Their specification does not say so: files change."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.experiments.run_record import DataRecord, RunRecord
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_json
from encoder_ablations.utils.wording import plural

NAME = "data.json"

FilesOfRuns = Mapping[str, Mapping[str, list[str]]]
"""Digest of a dataset's specification -> digest of its files -> the runs that have seen these."""


def save_files(dataset: DatasetSpec, data: DataRecord, folder: Path) -> None:
    """Writes down, as a run begins, which files it sees."""
    write_json(folder / NAME, {"dataset": _digest(dataset), "dataset_sha256": data.dataset_sha256})


def files_of_runs(folders: Iterable[Path]) -> FilesOfRuns:
    """What the runs in these folders have seen; those that have done nothing yet, or do not say it, are left out."""
    found: dict[str, dict[str, list[str]]] = {}
    for folder in folders:
        if not ((folder / "record.json").exists() or (folder / "checkpoints" / "last.pt").exists()):
            continue
        try:
            content = json.loads((folder / NAME).read_text(encoding="utf-8"))
            known = found.setdefault(content["dataset"], {})
            known.setdefault(content["dataset_sha256"], []).append(folder.name)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of an earlier version, or of another machine that is writing it now
    return found


def refuse_other_files(dataset: DatasetSpec, data: DataRecord, runs: FilesOfRuns) -> None:
    """
    Raises:
        InputError: one of the runs is of this dataset, and has seen other files.
    """
    for digest, names in runs.get(_digest(dataset), {}).items():
        if digest != data.dataset_sha256:
            others = f" and {plural(len(names) - 1, 'other')}" if len(names) > 1 else ""
            raise InputError(
                f"the files of dataset '{dataset.name}' have changed since the run {names[0]}{others}: other images, "
                "names or masks. Scores on both cannot be compared. Restore the files, or choose another --output, or "
                "delete the folders of the old runs."
            )


def changed_files(records: Sequence[RunRecord]) -> list[str]:
    """A line for every dataset whose files were not the same for all of its runs."""
    seen: dict[str, list[RunRecord]] = {}
    for record in records:
        if record.data is not None and record.data.dataset_sha256 is not None:
            seen.setdefault(record.spec.dataset.name, []).append(record)
    lines = []
    for name, runs in seen.items():
        if len({run.data.dataset_sha256 for run in runs if run.data}) == 1:
            continue
        # one name may stand for several datasets, which are compared with none of the others anyway
        versions = {(_digest(run.spec.dataset), run.data.dataset_sha256) for run in runs if run.data}
        excess = len(versions) - len({dataset for dataset, _ in versions})
        if excess:
            lines.append(
                f"the files of dataset '{name}' (images, names or masks) changed between its runs: there are "
                f"{excess + 1} versions. Scores on different versions cannot be compared."
            )
    return lines


def _digest(dataset: DatasetSpec) -> str:
    return hashlib.sha256(dataset.model_dump_json().encode("utf-8", "surrogateescape")).hexdigest()
