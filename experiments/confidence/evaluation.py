"""From finished runs to the record of their confidence."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
import torch

from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.engine.devices import computing
from encoder_ablations.engine.evaluation.calibration import Calibration
from encoder_ablations.engine.evaluation.conformal import images_needed
from encoder_ablations.engine.evaluation.metrics import number_or_none
from encoder_ablations.engine.evaluation.selective import RiskCoverage
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.confidence.measurement import Evaluated, Fitted, fit, measure
from encoder_ablations.experiments.confidence.pixels import Division, divide
from encoder_ablations.experiments.confidence.record import (
    CalibrationRecord,
    ClassSetRecord,
    ConfidenceRecord,
    SelectiveRecord,
    SetsRecord,
    confidence_file,
    load_confidence,
    save_confidence,
)
from encoder_ablations.experiments.runs.trained.run import TrainedRun
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.environment import describe_environment
from encoder_ablations.utils.progress import Bar

COVERAGES = np.arange(1, 101) / 100


class Settings(NamedTuple):
    """What decides the numbers, beside the runs.

    Attributes:
        level: the miss rate α that sets of classes hold.
        inference: windows and views.
    """

    level: float
    inference: InferenceSpec

    def plain(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {"level": self.level, "inference": self.inference.model_dump(mode="json")}


def evaluate_confidence(
    runs: Sequence[TrainedRun],
    settings: Settings,
    build: Callable[[], Predictor],
    device: torch.device,
    again: bool = False,
) -> ConfidenceRecord:
    """Measure one run, or several as an ensemble, and write the record.

    A record of the same runs, images and settings is returned as it is.

    Args:
        runs: of the same dataset and classes.
        settings: see :class:`Settings`.
        build: returns the predictor of the runs; called only if they are measured.
        device: where it computes.
        again: whether to measure although there is such a record.

    Raises:
        InputError: a checkpoint or a file of the dataset cannot be used, or nothing is labelled.
    """
    data = runs[0].record.spec.dataset
    prepare_dataset(data)
    division = divide(data)
    path = confidence_file([run.folder for run in runs])
    known = None
    if not again:
        known = load_confidence(path, [run.record.run_id for run in runs])
    if known is not None and _is_of(known, settings, division):
        return known
    record = _measured(runs, settings, build(), device, division)
    save_confidence(path, record)
    return record


def _measured(
    runs: Sequence[TrainedRun],
    settings: Settings,
    predictor: Predictor,
    device: torch.device,
    division: Division,
) -> ConfidenceRecord:
    """Return a new record of the runs that the predictor is of."""
    data = runs[0].record.spec.dataset
    total = len(division.calibration) + len(division.evaluation)
    with computing(device, "fp32", False), Bar(total=total, unit="image") as bar:
        environment = describe_environment(str(device))
        fitted = fit(predictor, division.calibration, settings.level, bar.update)
        found = measure(predictor, division.evaluation, fitted, bar.update)
    return ConfidenceRecord(
        run_ids=[run.record.run_id for run in runs],
        settings=settings.plain(),
        dataset=data.name,
        split=division.evaluation.images.split,
        n_images=len(division.evaluation),
        calibration_split=division.calibration.images.split,
        n_calibration_images=len(division.calibration),
        images_sha256=division.fingerprint,
        finished=now(),
        environment=environment,
        **_results(predictor, data, settings.level, fitted, found),
    )


def _is_of(record: ConfidenceRecord, settings: Settings, division: Division) -> bool:
    same_images = record.images_sha256 == division.fingerprint
    return same_images and record.settings == settings.plain()


def _results(
    predictor: Predictor, data: DatasetSpec, level: float, fitted: Fitted, found: Evaluated
) -> dict[str, Any]:
    """Return the parts of the record that were measured."""
    ious = [image.miou for image in found.images]
    uncertainties = [image.uncertainty for image in found.images]
    disagreement = None
    if len(predictor.members) * len(predictor.views) > 1:
        disagreement = _selective(found.disagreement, found.disagreements, ious)
    return {
        "pixels": found.before.pixels,
        "before": _calibration(found.before, data.classes),
        "temperature": fitted.temperature,
        "after": _calibration(found.after, data.classes),
        "entropy": _selective(found.entropy, uncertainties, ious),
        "disagreement": disagreement,
        "sets": _sets(data.classes, level, fitted, found),
        "images": found.images,
    }


def _calibration(found: Calibration, classes: Sequence[str]) -> CalibrationRecord:
    errors = found.by_class.error()
    confidence, accuracy = found.top.curve()
    return CalibrationRecord(
        ece=float(found.top.error()),
        classwise_ece=float(errors.mean()),
        per_class_ece=dict(zip(classes, errors.tolist(), strict=True)),
        nll=found.nll,
        brier=found.brier,
        bin_pixels=found.top.pixels.astype(int).tolist(),
        bin_confidence=[number_or_none(value) for value in confidence.tolist()],
        bin_accuracy=[number_or_none(value) for value in accuracy.tolist()],
    )


def _selective(
    risk: RiskCoverage, uncertainties: Sequence[float], ious: Sequence[float]
) -> SelectiveRecord:
    """Return what an uncertainty is worth.

    Args:
        risk: over pixels.
        uncertainties: mean of each image.
        ious: of the same images.
    """
    return SelectiveRecord(
        aurc=risk.area(),
        ideal_aurc=risk.ideal(),
        error=risk.error,
        coverage=COVERAGES.tolist(),
        risk=risk.risk_at(COVERAGES).tolist(),
        spearman=rank_correlation(uncertainties, ious),
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation, -1..1; None for fewer than three or all equal values."""
    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    found = float(scipy.stats.spearmanr(first, second).statistic)
    if math.isnan(found):
        return None
    return found


def _sets(classes: Sequence[str], level: float, fitted: Fitted, found: Evaluated) -> SetsRecord:
    sets = found.sets
    pixels = int(sets.sizes.sum())
    rates = sets.miss_rates / np.maximum(1, sets.images)
    by_class = {}
    for place, name in enumerate(classes):
        rate = None
        if sets.images[place]:
            rate = float(rates[place])
        by_class[name] = ClassSetRecord(
            threshold=float(fitted.thresholds[place]),
            calibration_images=int(fitted.images[place]),
            images=int(sets.images[place]),
            miss_rate=rate,
        )
    return SetsRecord(
        level=level,
        images_needed=images_needed(level),
        classes=by_class,
        mean_size=float((sets.sizes * np.arange(len(sets.sizes))).sum() / pixels),
        empty=float(sets.sizes[0] / pixels),
        single=float(sets.sizes[1] / pixels),
    )
