"""The result of a run as it is stored: the only thing that reports read."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from encoder_ablations.experiments.run_spec import RunSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_text

SCHEMA_VERSION = 1
NO_CHECKSUM = "0" * 64
PER_IMAGE = "per_image.npz"
"""Beside the record: the confusion matrix of every image, which add up to the record's."""
STUDY_FILE = "study.yaml"
"""In a study's folder: the study with everything resolved."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataRecord(Part):
    """What was trained and evaluated on.

    ``train_ids_sha256`` names the training images; ``train_masks_sha256`` also covers how many pixels of each class
    their masks hold, so that it changes when labels do. ``report_split`` is "test" where the dataset has one.
    ``dataset_sha256`` changes with anything in any split: names, sizes of images' files, the class of a pixel; None in
    records of earlier versions.
    """

    train_ids_sha256: str
    train_masks_sha256: str
    n_train: int
    n_val: int
    n_test: int | None
    fraction: float
    class_names: list[str]
    colors: list[tuple[int, int, int]]
    report_split: Literal["val", "test", "train"]
    dataset_sha256: str | None = None


class MetricsRecord(Part):
    """Quality in 0..1 on the report split, all from one confusion matrix; None = nothing to divide by.

    ``miou`` is the mean IoU over the classes present in the ground truth (Detectron2's rule);
    ``miou_union`` over the classes present in ground truth or prediction (torchmetrics'); ``miou_all`` over all
    classes with absent ones as 0.
    """

    miou: float | None
    miou_union: float | None
    miou_all: float
    mean_class_accuracy: float | None
    pixel_accuracy: float | None
    frequency_weighted_iou: float | None
    per_class_iou: dict[str, float | None]
    per_class_dice: dict[str, float | None]
    per_class_accuracy: dict[str, float | None]


class CurvesRecord(Part):
    """``loss[i]`` is the mean training loss of the steps up to ``loss_steps[i]`` since the entry before."""

    loss_steps: list[int]
    loss: list[float]
    val_steps: list[int]
    val_miou: list[float | None]


class ConvergenceRecord(Part):
    """First step (and epochs over the subset) at which val mIoU reached 95 % of its best; which step was best."""

    best_step: int
    best_val_miou: float | None
    step_to_95_percent: int | None
    epochs_to_95_percent: float | None
    epochs: float


class LatencyRecord(Part):
    """Milliseconds for one forward pass of a batch, input to stride-4 scores."""

    batch_size: int
    median: float
    p10: float
    p90: float
    median_by_part: dict[str, float]


class CostRecord(Part):
    """What the model costs at ``input_size`` (H, W).

    ``flops`` counts one multiply-add as one, as fvcore and the literature do; ``tokens`` are patch tokens per image
    (None for convolutional encoders). Latencies are in ``precision`` and with the fastest kernels, whatever training
    was in; "fp32" is true float32, without TF32.
    """

    input_size: tuple[int, int]
    tokens: int | None
    parameters: dict[str, int]
    parameters_by_part: dict[str, int]
    flops: int
    flops_by_part: dict[str, int]
    latency_ms: list[LatencyRecord]
    images_per_second: float
    train_seconds: float
    peak_memory_bytes: int
    precision: Literal["fp32"] = "fp32"


class ErrorRecord(Part):
    type: str
    message: str
    traceback: str


class RunRecord(Part):
    """One run. ``status``: "finished", or "failed" with an ``error`` (then only the first fields are set).

    ``pictures`` are ids of images for which the run's folder ``pictures/`` holds ``ID.image.jpg``, ``ID.truth.png``
    and ``ID.prediction.png`` (the latter two single-channel class ids, 255 = ignore; with more than 255 classes 16-bit,
    65535 = ignore).
    ``deformable_attention``: what computed it ("numba", "triton", "pytorch" or "compiled"; "failed" = the official code
    hid an error and computed slowly); empty for heads without it, and for runs recorded before it was.
    ``disclosures``: sentences about what a reader must know to judge the number.
    ``checksum``: of the file, with zeros in the checksum's place; set when it is written.
    """

    schema_version: Literal[1] = 1
    run_id: str
    status: Literal["finished", "failed"]
    spec: RunSpec
    started: str
    finished: str
    environment: dict[str, Any]
    data: DataRecord | None = None
    metrics: MetricsRecord | None = None
    confusion_matrix: list[list[int]] | None = None
    curves: CurvesRecord | None = None
    convergence: ConvergenceRecord | None = None
    cost: CostRecord | None = None
    encoder: dict[str, Any] | None = None
    pictures: list[str] = []
    deformable_attention: list[str] = []
    disclosures: list[str] = []
    error: ErrorRecord | None = None
    checksum: str | None = None


def save_record(record: RunRecord, folder: Path) -> None:
    """Writes ``folder/record.json``, whole or not at all."""
    text = json.dumps(record.model_dump(mode="json") | {"checksum": NO_CHECKSUM}, indent=1, allow_nan=False) + "\n"
    write_text(folder / "record.json", text.replace(NO_CHECKSUM, _checksum(text)))


def load_record(folder: Path) -> RunRecord | None:
    """Reads ``folder/record.json``; None if there is none.

    Raises:
        InputError: the file is damaged, was edited, or was written by a version with another schema.
    """
    path = folder / "record.json"
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        record = RunRecord.model_validate_json(text)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error
    except ValidationError as error:
        raise _unreadable(path, text, error) from error
    if "schema_version" not in record.model_fields_set:
        raise _other_version(path, None)
    if record.checksum is not None and record.checksum != _checksum(text.replace(record.checksum, NO_CHECKSUM)):
        raise InputError(f"{path} was edited after it was written; restore it, or delete the file to run it again.")
    return record


def _unreadable(path: Path, text: str, error: ValidationError) -> InputError:
    """Why ``text`` is no record: only now is it worth reading its version."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as broken:
        return _damaged(path, broken)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version == SCHEMA_VERSION:
        return _damaged(path, error)
    return _other_version(path, version)


def _other_version(path: Path, version: object) -> InputError:
    return InputError(
        f"{path} has schema version {version}, this program reads version {SCHEMA_VERSION}. "
        "Use the version of encoder-ablations that wrote it, or choose another folder with --output."
    )


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is damaged ({type(error).__name__}); delete the file to run it again.")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
