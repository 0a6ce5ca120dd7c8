"""The folder of a run, which has the run's name and holds only its own files."""

import hashlib
import os
from pathlib import Path

import yaml

from encoder_ablations.experiments.runs.fingerprint import check_files, has_learnt
from encoder_ablations.experiments.runs.record import RunRecord, load_record
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import StorageError, write_text

CONFIG = "config.yaml"
HEADER = "# run"
LAST = Path("checkpoints", "last.pt")
"""Where a run's folder holds what training goes on from."""
WAY_OUT = "restore the run's own file, or delete the run's folder to run it again."


def save_config(spec: RunSpec, folder: Path) -> None:
    """Write the resolved spec; ``ablate train --config`` on it gives the same run id.

    The first line, a comment, names the run and holds the digest of the others. Both can be checked
    without reading YAML, which takes time.
    """
    text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
    write_text(folder / CONFIG, f"{_header(spec.run_id, text)}\n{text}")


def load_run(folder: Path) -> RunRecord | None:
    """Read the record of the run that ``folder`` is named by; None if it has none yet.

    Raises:
        InputError: the record cannot be used, or a file in the folder is damaged or of another run.
    """
    record = load_record(folder)
    run_id = folder_name(folder)
    if record is not None and record.run_id != run_id:
        raise InputError(
            f"{folder / 'record.json'} is the record of another run, {record.run_id}; every run "
            "lies in the folder of its own name. Rename the folder, or delete it if it is a copy."
        )
    check_run_files(folder, run_id, record)
    return record


def check_run_files(folder: Path, run_id: str, record: RunRecord | None = None) -> None:
    """Check ``config.yaml`` and ``data.json``, as far as the run has got.

    Raises:
        InputError: one of them is missing, damaged, or of another run.
    """
    # Detectron2 writes a config.yaml of its own kind
    if record is None or record.spec.detectron2 is None:
        _check_config(folder / CONFIG, run_id, ours=(folder / "checkpoints").exists())
    if record is not None and record.data is not None:
        check_files(folder, run_id, (record.spec.dataset, record.data.dataset_sha256))
    elif has_learnt(folder):
        check_files(folder, run_id, None)


def discard_last(folder: Path) -> None:
    """Delete the checkpoint that training goes on from: the run in ``folder`` has finished.

    Raises:
        StorageError: the file cannot be deleted.
    """
    path = folder / LAST
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot delete {path}: {error.strerror}. The run has finished and needs it no more; "
            "delete it, or say --keep-last."
        ) from error


def folder_name(folder: Path) -> str:
    """Return the name of a folder, also of one that is given as ``.``."""
    return Path(os.path.abspath(folder)).name


def _check_config(path: Path, run_id: str, ours: bool) -> None:
    """Check that ``config.yaml``, if it is there, is that of the run.

    Args:
        path: the file.
        run_id: whose it must be.
        ours: whether our own engine computes the run. If not, the file may be Detectron2's.
    """
    try:
        header, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged; {WAY_OUT}") from error
    if not header.startswith(f"{HEADER} ") and not ours:
        return
    if not header.startswith(f"{HEADER} {run_id},") and header.startswith(f"{HEADER} "):
        other = header.removeprefix(f"{HEADER} ").partition(",")[0]
        raise InputError(
            f"{path} is that of another run, {other}; this is the run {run_id}; {WAY_OUT}"
        )
    if header != _header(run_id, text):
        raise InputError(f"{path} was edited after it was written (wrong checksum); {WAY_OUT}")


def _header(run_id: str, text: str) -> str:
    return f"{HEADER} {run_id}, sha256 of what follows: {hashlib.sha256(text.encode()).hexdigest()}"
