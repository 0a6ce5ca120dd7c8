"""The record of how far a run's probabilities, or those of several runs, can be relied on."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.experiments.runs.record_parts import Part
from encoder_ablations.utils.checked_json import check_text, write_checked
from encoder_ablations.utils.errors import InputError

CONFIDENCE = "confidence.json"
"""Beside the record of a run."""
ENSEMBLES = "ensembles"
"""Folder of a study with the records of several runs together."""
WAY_OUT = "delete it and run ablate confidence again."


class CalibrationRecord(Part):
    """How well probabilities match what is true.

    Attributes:
        ece: expected calibration error of the predicted class, 15 bins, 0..1.
        classwise_ece: mean of ``per_class_ece``.
        per_class_ece: of the probability of each class, over all pixels.
        nll: mean of -log p(true class), nats.
        brier: mean of Σ (p - 1[true class])², 0..2.
        bin_pixels: pixels in each of the 15 bins of the predicted class's probability.
        bin_confidence: its mean in each bin; None for an empty one.
        bin_accuracy: the share of right pixels in each bin; None for an empty one.
    """

    ece: float
    classwise_ece: float
    per_class_ece: dict[str, float]
    nll: float
    brier: float
    bin_pixels: list[int]
    bin_confidence: list[float | None]
    bin_accuracy: list[float | None]


class SelectiveRecord(Part):
    """What is gained when the least certain pixels are left out.

    Attributes:
        aurc: mean share of wrong pixels over all coverages.
        ideal_aurc: the same if every wrong pixel were less certain than every right one.
        error: share of wrong pixels when all are kept.
        coverage: shares of the pixels that are kept.
        risk: share of wrong pixels among them.
        spearman: rank correlation between the mean uncertainty of an image and its IoU; None where
            there are fewer than three images, or no differences.
    """

    aurc: float
    ideal_aurc: float
    error: float
    coverage: list[float]
    risk: list[float]
    spearman: float | None


class ClassSetRecord(Part):
    """The threshold of a class and what it gave.

    Attributes:
        threshold: a set holds the class where its probability reaches this; 0 = always, where the
            calibration images were too few.
        calibration_images: in how many of them the class occurs.
        images: in how many evaluated images it occurs.
        miss_rate: share of its true pixels whose set lacks it, as the mean over ``images``; None
            without any.
    """

    threshold: float
    calibration_images: int
    images: int
    miss_rate: float | None


class SetsRecord(Part):
    """Sets of classes that miss the true class of a pixel at a held rate.

    Attributes:
        level: α, the held expected miss rate.
        images_needed: calibration images that a class needs for that.
        classes: class -> its threshold.
        mean_size: classes in a set, mean over pixels.
        empty, single: shares of pixels whose set holds no class, or one.
    """

    level: float
    images_needed: int
    classes: dict[str, ClassSetRecord]
    mean_size: float
    empty: float
    single: float

    @property
    def held(self) -> list[str]:
        """Return the classes with calibration images enough."""
        return [
            name
            for name, each in self.classes.items()
            if each.calibration_images >= self.images_needed
        ]

    @property
    def unheld(self) -> list[str]:
        """Return the classes with too few calibration images."""
        held = set(self.held)
        return [name for name in self.classes if name not in held]


class ImageRecord(Part):
    """An image's mean uncertainty (0..1, entropy) and its IoU over the classes in its truth."""

    id: str
    uncertainty: float
    miou: float


class ConfidenceRecord(Part):
    """One run's, or one ensemble's, probabilities on images that it has not learned from.

    Attributes:
        run_ids: the run, or those of the ensemble.
        settings: what else decides the numbers: level, windows and views.
        split: whose images were evaluated.
        calibration_split: whose images temperature and thresholds come from; no image is in both.
        images_sha256: of the ids of the evaluated and of the calibration images.
        pixels: labelled ones that were evaluated.
        before: with the probabilities as they are.
        temperature: fitted on the calibration images.
        after: with the temperature.
        entropy: entropy as the uncertainty.
        disagreement: mutual information of the models (and views) as the uncertainty; None for a
            single prediction.
        sets: see :class:`SetsRecord`.
        images: all evaluated images with a labelled pixel.
        checksum: of the file; set when it is written.
    """

    schema_version: Literal[1] = 1
    run_ids: list[str]
    settings: dict[str, Any]
    dataset: str
    split: Split
    n_images: int
    calibration_split: Split
    n_calibration_images: int
    images_sha256: str
    pixels: int
    before: CalibrationRecord
    temperature: float
    after: CalibrationRecord
    entropy: SelectiveRecord
    disagreement: SelectiveRecord | None
    sets: SetsRecord
    images: list[ImageRecord]
    finished: str
    environment: dict[str, Any]
    checksum: str | None = None


def confidence_file(folders: Sequence[Path]) -> Path:
    """Return the file of a record.

    Args:
        folders: of the runs. One run has it beside its record; an ensemble has it in the folder of
            the first run's study.
    """
    if len(folders) == 1:
        return folders[0] / CONFIDENCE
    names = sorted(folder.resolve().name for folder in folders)
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:10]
    study = folders[0].resolve().parent.parent
    return study / ENSEMBLES / f"{len(names)}-runs-{digest}.{CONFIDENCE}"


def save_confidence(path: Path, record: ConfidenceRecord) -> None:
    """Write a record with its checksum."""
    write_checked(path, record.model_dump(mode="json"))


def load_confidence(path: Path, run_ids: Sequence[str] | None = None) -> ConfidenceRecord | None:
    """Read a record; None if there is no file.

    Args:
        path: the file.
        run_ids: the runs that it must be of; None = any.

    Raises:
        InputError: the file is damaged, edited, of another version or of other runs.
    """
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        record = ConfidenceRecord.model_validate_json(text)
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} is damaged, or of another version; {WAY_OUT}") from error
    check_text(path, text, record.checksum, WAY_OUT)
    if run_ids is not None and sorted(record.run_ids) != sorted(run_ids):
        raise InputError(f"{path} is of another run, {record.run_ids[0]}; {WAY_OUT}")
    return record
