"""The result of a run as it is stored: the only thing that reports read."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.engine.training.federated.record import FederationRecord
from encoder_ablations.engine.training.private.record import PrivacyRecord
from encoder_ablations.experiments.runs.metrics_record import (
    ImageClassesRecord,
    TaskMetrics,
    task_metrics,
    wrong_metric,
)
from encoder_ablations.experiments.runs.record_parts import (
    ConvergenceRecord,
    CostRecord,
    CurvesRecord,
    DataRecord,
    ErrorRecord,
)
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.checked_json import check_text, write_checked
from encoder_ablations.utils.errors import InputError

SCHEMA_VERSION = 3
WAY_OUT = "restore it, or delete the file to run it again."
RESULTS = ("data", "metrics", "confusion_matrix", "curves", "cost")
"""What the record of a finished run always holds; that of a trained one also has convergence."""
PER_IMAGE = "per_image.npz"
"""Beside the record: the confusion matrix of every image, which add up to the record's."""


class RunRecord(BaseModel):
    """One run.

    Attributes:
        task: that of the dataset.
        status: "finished", or "failed" with an ``error`` (then only the first fields are set).
        image_classes: quality of the classes of whole images, where a run predicts them, too.
        federation: clients and rounds, where there are clients.
        pictures: ids of images for which the run's folder ``pictures/`` holds ``ID.image.jpg``,
            ``ID.truth.png`` and ``ID.prediction.png``. The latter two hold class ids in one channel
            of 8 bits (255 = ignore), or of 16 with more than 255 classes (65535 = ignore).
        deformable_attention: "numba", "triton", "pytorch" or "compiled"; "failed" = the official
            code hid an error and computed slowly. Empty without it.
        images_per_statistic: of how many images BatchNorm's statistics were, where these were
            fewer than the batch (accumulation). None = the whole batch, or no BatchNorm.
        class_weights: of the losses that have any: loss -> weight of each class.
        code: the user's own encoder, head, losses, transforms: reference -> SHA-256 of its file.
        privacy: what private training has spent; None where it was not private.
        disclosures: sentences about what a reader must know to judge the number.
        checksum: of the file, set when it is written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[3] = 3
    task: Task = "segmentation"
    run_id: str
    status: Literal["finished", "failed"]
    spec: RunSpec
    started: str
    finished: str
    environment: dict[str, Any]
    data: DataRecord | None = None
    metrics: TaskMetrics | None = None
    confusion_matrix: list[list[int]] | None = None
    image_classes: ImageClassesRecord | None = Field(default=None, exclude_if=lambda r: r is None)
    curves: CurvesRecord | None = None
    federation: FederationRecord | None = Field(default=None, exclude_if=lambda each: each is None)
    convergence: ConvergenceRecord | None = None
    cost: CostRecord | None = None
    encoder: dict[str, Any] | None = None
    pictures: list[str] = []
    deformable_attention: list[str] = []
    images_per_statistic: int | None = None
    class_weights: dict[str, list[float]] = {}
    code: dict[str, str] = {}
    privacy: PrivacyRecord | None = Field(default=None, exclude_if=lambda spent: spent is None)
    disclosures: list[str] = []
    error: ErrorRecord | None = None
    checksum: str | None = None

    @property
    def score(self) -> str:
        """The main metric of a finished run and its split, in words."""
        assert self.metrics is not None
        assert self.data is not None
        metric = MAIN_METRICS[self.task]
        score = f"no labelled {metric.counted}s"
        if self.metrics.main is not None:
            score = f"{metric.label} {100 * self.metrics.main:.2f} %"
        return f"{score} on the {self.data.report_split} split"


def best_step(record: RunRecord | None) -> int | None:
    """Return the training step of the best checkpoint; None if the record does not say."""
    if record is None or record.convergence is None:
        return None
    return record.convergence.best_step


def save_record(record: RunRecord, folder: Path) -> None:
    """Write ``folder/record.json``, whole or not at all, with a checksum of itself."""
    write_checked(folder / "record.json", record.model_dump(mode="json"))


def load_record(folder: Path) -> RunRecord | None:
    """Read ``folder/record.json``; None if there is none.

    Raises:
        InputError: the file is damaged, was edited, contradicts itself, or was written by a
            version with another schema.
    """
    path = folder / "record.json"
    try:
        text = path.read_text(encoding="utf-8")
        record = RunRecord.model_validate_json(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error
    except ValidationError as error:
        raise _unreadable(path, text, error) from error
    if "schema_version" not in record.model_fields_set:
        raise _other_version(path, None)
    check_text(path, text, record.checksum, WAY_OUT)
    problem = _contradiction(record)
    if problem is not None:
        raise InputError(f"{path} contradicts itself: {problem}; {WAY_OUT}")
    return record


def _contradiction(record: RunRecord) -> str | None:
    """Say what in a record cannot be true of one run; None if all of it fits together."""
    if record.run_id != record.spec.run_id:
        return (
            f"it names the run {record.run_id}, but its settings are those of {record.spec.run_id}"
        )
    if record.task != record.spec.dataset.task:
        return f"it is of the task {record.task}, but its dataset is for {record.spec.dataset.task}"
    if record.status == "failed":
        return "the run failed without an error" if record.error is None else None
    missing = _missing_results(record)
    if missing:
        return f"the run is finished without {', '.join(missing)}"
    assert record.data is not None
    if tuple(record.data.class_names) != tuple(record.spec.dataset.classes):
        return "its data have other classes than its dataset"
    return _wrong_result(record)


def _missing_results(record: RunRecord) -> list[str]:
    """Return what the record of a finished run lacks."""
    missing = [name for name in RESULTS if getattr(record, name) is None]
    # nothing converges where nothing was trained; the one evaluation is that of step 0
    untrained = record.curves is not None and not any(record.curves.val_steps)
    if record.convergence is None and not untrained:
        missing.append("convergence")
    return missing


def _wrong_result(record: RunRecord) -> str | None:
    """Say how confusion matrix and metrics of a finished run disagree; None if they agree."""
    assert record.metrics is not None
    assert record.confusion_matrix is not None
    classes = record.spec.dataset.classes
    if [len(row) for row in record.confusion_matrix] != [len(classes)] * len(classes):
        return f"its confusion matrix is not one of {len(classes)} classes"
    counts = np.array(record.confusion_matrix, dtype=np.int64)
    if counts.min() < 0:
        return "its confusion matrix holds negative counts"
    wrong = wrong_metric(
        record.metrics, task_metrics(record.task, ConfusionMatrix(counts), classes)
    )
    if wrong is None:
        return None
    return f"a metric is not that of its confusion matrix ({wrong})"


def _unreadable(path: Path, text: str, error: ValidationError) -> InputError:
    """Return why ``text`` is no record; only now is it worth reading its version."""
    try:
        content = json.loads(text)
    # besides JSONDecodeError: a number of very many digits, and very many brackets
    except (ValueError, RecursionError) as broken:
        return _damaged(path, broken)
    version = None
    if isinstance(content, dict):
        version = content.get("schema_version")
    if version == SCHEMA_VERSION:
        return _damaged(path, error)
    return _other_version(path, version)


def _other_version(path: Path, version: object) -> InputError:
    return InputError(
        f"{path} has schema version {version}, this program reads version {SCHEMA_VERSION}. "
        "Use the version of encoder-ablations that wrote it, or choose another folder with "
        "--output."
    )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is damaged ({type(error).__name__}); delete the file to run it again."
    )
