"""Check that all runs that are compared have seen the same files, which may have changed."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.checked_json import check_text, write_checked
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

NAME = "data.json"
WAY_OUT = "restore it, or delete the run's folder to run it again."

Files = tuple[DatasetSpec, str]
"""A dataset, and the digest of its files that :class:`DataRecord` calls ``dataset_sha256``."""
FilesOfRuns = Mapping[str, Mapping[str, list[str]]]
"""Digest of a dataset's specification -> digest of its files -> the runs that have seen these."""


class SeenFiles(BaseModel):
    """What a run's ``data.json`` holds.

    Attributes:
        dataset: digest of the dataset's specification.
        dataset_sha256: digest of all of its files, as in :class:`DataRecord`.
        code: SHA-256 of the files of the user's own modules, as in ``RunRecord``.
        pseudo_labels: SHA-256 of the predicted masks that it learns from; None = there are none.
        checksum: of the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    dataset: str
    dataset_sha256: str
    code: dict[str, str] = {}
    pseudo_labels: str | None = Field(default=None, exclude_if=lambda digest: digest is None)
    checksum: str | None = None


def save_files(
    run_id: str,
    dataset: DatasetSpec,
    dataset_sha256: str,
    folder: Path,
    code: Mapping[str, str] | None = None,
    pseudo_labels: str | None = None,
) -> None:
    """Write ``data.json``, as a run begins: which files it sees."""
    seen = SeenFiles(
        run_id=run_id,
        dataset=_digest(dataset),
        dataset_sha256=dataset_sha256,
        code=dict(code or {}),
        pseudo_labels=pseudo_labels,
    )
    write_checked(folder / NAME, seen.model_dump())


def read_files(folder: Path) -> SeenFiles:
    """Return which files the run in ``folder`` has seen.

    Raises:
        InputError: nothing tells, for the file is missing, damaged or edited.
    """
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
        seen = SeenFiles.model_validate_json(text)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing, so nothing tells whether the dataset's files have changed since; "
            f"{WAY_OUT}"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, ValidationError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); {WAY_OUT}") from error
    check_text(path, text, seen.checksum, WAY_OUT)
    return seen


def check_files(folder: Path, run_id: str, recorded: Files | None) -> None:
    """Check that ``data.json`` is that of the run and agrees with its record.

    Args:
        folder: of the run.
        run_id: the name that the file must hold.
        recorded: what the run's record says; None if it has not finished.

    Raises:
        InputError: it is missing, damaged, or belongs to another run.
    """
    seen = read_files(folder)
    if seen.run_id != run_id:
        raise InputError(
            f"{folder / NAME} is that of another run, {seen.run_id}; this is {run_id}; {WAY_OUT}"
        )
    if recorded is None:
        return
    dataset, dataset_sha256 = recorded
    if (seen.dataset, seen.dataset_sha256) != (_digest(dataset), dataset_sha256):
        raise InputError(f"{folder / NAME} names other files than the record beside it; {WAY_OUT}")


def files_of_runs(folders: Iterable[Path]) -> FilesOfRuns:
    """Return what the runs in these folders have seen, see :func:`seen_by_runs`."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, seen in seen_by_runs(folders):
        found.setdefault(seen.dataset, {}).setdefault(seen.dataset_sha256, []).append(name)
    return found


def seen_by_runs(folders: Iterable[Path]) -> Iterator[tuple[str, SeenFiles]]:
    """Yield the name of each run and what it has seen.

    Runs that have learnt nothing yet are left out, and those whose ``data.json`` cannot be used:
    whoever plans or reports them refuses them by name.
    """
    for folder in folders:
        if not ((folder / "record.json").exists() or has_learnt(folder)):
            continue
        with suppress(InputError):
            yield folder.name, read_files(folder)


def has_learnt(folder: Path) -> bool:
    """Whether a checkpoint of ours or of Detectron2's loop lies in a run's folder."""
    return any((folder / "checkpoints").glob("*.pt")) or (folder / "last_checkpoint").exists()


def refuse_other_files(dataset: DatasetSpec, dataset_sha256: str, runs: FilesOfRuns) -> None:
    """Check that the runs of a dataset have seen files of this digest.

    Raises:
        InputError: one of them has seen other files.
    """
    for digest, names in runs.get(_digest(dataset), {}).items():
        if digest != dataset_sha256:
            others = ""
            if len(names) > 1:
                others = f" and {plural(len(names) - 1, 'other')}"
            raise InputError(
                f"the files of dataset '{dataset.name}' have changed since the run "
                f"{names[0]}{others}: other images, names or masks. Scores on both cannot be "
                "compared. Restore the files, or choose another --output, or delete the folders of "
                "the old runs."
            )


def refuse_other_masks(folder: Path, pseudo_labels: str | None) -> None:
    """Check that a run which goes on learns from the same predicted masks as before.

    Args:
        folder: of the run.
        pseudo_labels: SHA-256 of the masks; None = there are none.

    Raises:
        InputError: they are others.
    """
    if has_learnt(folder) and read_files(folder).pseudo_labels != pseudo_labels:
        raise InputError(
            f"the predicted masks (pseudo_labels) are others than those that {folder.name} has "
            "learned from. Delete the run's folder to run it again."
        )


def changed_files(runs: Iterable[Files]) -> list[str]:
    """Return a line for every dataset whose files were not the same for all of its runs.

    Args:
        runs: what each run has seen.
    """
    # Several datasets may have one name. They are never compared, so each has versions of its own.
    versions: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for dataset, dataset_sha256 in runs:
        versions[dataset.name, _digest(dataset)].add(dataset_sha256)
    changes: Counter[str] = Counter()
    for (name, _), seen in versions.items():
        changes[name] += len(seen) - 1
    return [
        f"the files of dataset '{name}' (images, names or masks) changed between its runs: "
        f"there are {count + 1} versions. Scores on different versions cannot be compared."
        for name, count in changes.items()
        if count
    ]


def _digest(dataset: DatasetSpec) -> str:
    return hashlib.sha256(dataset.model_dump_json().encode("utf-8", "surrogateescape")).hexdigest()
