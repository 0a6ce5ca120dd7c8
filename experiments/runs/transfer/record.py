"""The record of a run that was tested on another dataset."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.experiments.runs.metrics_record import (
    MetricsRecord,
    shared_metrics,
    wrong_metric,
)
from encoder_ablations.experiments.runs.record_parts import Part
from encoder_ablations.utils.checked_json import check_text, write_checked
from encoder_ablations.utils.errors import InputError

WAY_OUT = "delete it and evaluate again."


class TransferRecord(Part):
    """A run's best checkpoint on a dataset that it was not trained on.

    Attributes:
        trained_on, tested_on, split: names of the datasets, and which images of the second.
        images_sha256, n_images: the images' ids, as in :class:`DataRecord`, and how many.
        trained, tested: for each shared class, what it is called in both datasets.
        class_names: the S shared classes.
        confusion_matrix: S rows (truth) and S+1 columns (prediction); the last is "a class that is
            not shared".
        metrics: over the S classes. Pixels of other classes are left out; other predictions count
            as wrong.
        at_home: the same for the run's own report split, with the classes merged in the same way.
        checksum: of the file; set when it is written.
    """

    schema_version: Literal[1] = 1
    run_id: str
    trained_on: str
    tested_on: str
    split: Split
    n_images: int
    images_sha256: str
    trained: dict[str, list[str]]
    tested: dict[str, list[str]]
    class_names: list[str]
    confusion_matrix: list[list[int]]
    metrics: MetricsRecord
    at_home: MetricsRecord | None
    checkpoint_step: int
    finished: str
    environment: dict[str, Any]
    checksum: str | None = None


def transfer_file(folder: Path, record: TransferRecord) -> Path:
    """Return the file of a record; each dataset, split, set of images and class map has its own."""
    what = [record.tested_on, record.split, record.images_sha256, record.trained, record.tested]
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:10]
    return folder / "transfer" / f"{record.tested_on}-{record.split}-{digest}.json"


def save_transfer(folder: Path, record: TransferRecord) -> None:
    """Write a record beside the one of its run."""
    write_checked(transfer_file(folder, record), record.model_dump(mode="json"))


def transfer_files(folder: Path) -> list[Path]:
    """All transfer records of a run, by name."""
    return sorted((folder / "transfer").glob("*.json"))


def load_transfer(path: Path, run_id: str) -> TransferRecord:
    """Read a transfer record of the run ``run_id``.

    Raises:
        InputError: the file is damaged, edited, of another version or of another run, or
            contradicts itself.
    """
    try:
        text = path.read_text(encoding="utf-8")
        record = TransferRecord.model_validate_json(text)
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is damaged, or of another version; {WAY_OUT}") from error
    check_text(path, text, record.checksum, WAY_OUT)
    if record.run_id != run_id:
        raise InputError(
            f"{path} is a result of another run, {record.run_id}; move it there, or delete it."
        )
    classes = len(record.class_names)
    if [len(row) for row in record.confusion_matrix] != [classes + 1] * classes:
        raise InputError(f"{path} holds no confusion matrix of {classes} classes; {WAY_OUT}")
    counts = np.array([*record.confusion_matrix, [0] * (classes + 1)], dtype=np.int64)
    wrong = wrong_metric(record.metrics, shared_metrics(counts, tuple(record.class_names)))
    if wrong is not None:
        raise InputError(
            f"{path}: a metric is not that of its confusion matrix ({wrong}); {WAY_OUT}"
        )
    return record
