"""What is kept of a run that was tested on another dataset."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from encoder_ablations.data.spec import Split
from encoder_ablations.experiments.run_record import MetricsRecord, Part
from encoder_ablations.utils.errors import InputError


class TransferRecord(Part):
    """A run's best checkpoint on a dataset that it was not trained on.

    Attributes:
        trained_on, tested_on, split: names of the datasets, and which images of the second.
        images_sha256, n_images: the images' ids, as in :class:`DataRecord`, and how many.
        trained, tested: for each shared class, what it is called in both datasets.
        class_names: the S shared classes.
        confusion_matrix: S rows (truth) and S+1 columns (prediction); the last is "a class that is not shared".
        metrics: over the S classes. Pixels of other classes are left out; other predictions count as wrong.
        at_home: the same for the run's own report split, with the classes merged in the same way.
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


def transfer_file(folder: Path, record: TransferRecord) -> Path:
    """Where a record is kept: another dataset, split, set of images or class map, another file."""
    what = [record.tested_on, record.split, record.images_sha256, record.trained, record.tested]
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:10]
    return folder / "transfer" / f"{record.tested_on}-{record.split}-{digest}.json"


def load_transfers(folder: Path) -> list[TransferRecord]:
    """All transfer records of a run, by file name.

    Raises:
        InputError: a file is damaged or of another version.
    """
    found = []
    for path in sorted((folder / "transfer").glob("*.json")):
        try:
            found.append(TransferRecord.model_validate_json(path.read_text(encoding="utf-8")))
        except (ValidationError, UnicodeDecodeError, OSError) as error:
            raise InputError(f"{path} is damaged, or of another version; delete it and evaluate again.") from error
    return found
