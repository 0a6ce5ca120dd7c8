"""What windows, views, ensembles and clean-up gain, measured on a labelled split."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.counting import count_image
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.runs.metrics_record import MetricsRecord, metrics_record
from encoder_ablations.experiments.runs.record_parts import Part
from encoder_ablations.experiments.runs.trained.run import TrainedRun
from encoder_ablations.experiments.runs.transfer.score_table import score_table
from encoder_ablations.utils.checked_json import write_checked
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


class InferenceRecord(Part):
    """The score of one run, or of several together, with settings of their own for prediction.

    Attributes:
        run_ids: the runs that predict together.
        weighting: how they count.
        inference: windows, views, combination and clean-up.
        split, images_sha256, n_images: which images of the runs' dataset.
        confusion_matrix: K×K, rows are the ground truth.
        plain_miou: mean mIoU of the same runs without any of this, from their own records; None
            where these are of another split.
        checksum: of the file; set when it is written.
    """

    schema_version: Literal[1] = 1
    run_ids: list[str]
    weighting: str
    inference: InferenceSpec
    split: Split
    images_sha256: str
    n_images: int
    confusion_matrix: list[list[int]]
    metrics: MetricsRecord
    plain_miou: float | None
    finished: str
    environment: dict[str, Any]
    checksum: str | None = None

    @property
    def gain(self) -> float | None:
        """MIoU minus that of the plain prediction, 0..1; None where one of them is unknown."""
        if self.metrics.miou is None or self.plain_miou is None:
            return None
        return self.metrics.miou - self.plain_miou


def score(
    runs: Sequence[TrainedRun],
    predictor: Predictor,
    weighting: str,
    split: Split,
    environment: dict[str, Any],
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> InferenceRecord:
    """Return the score of a predictor on a split of its runs' dataset.

    Args:
        runs: that the predictor is made of; all of one dataset.
        predictor: see :func:`.models.make_predictor`.
        weighting: how the runs count.
        split: which images.
        environment: what computes it.
        progress: shows how far a sequence has been gone through.

    Raises:
        InputError: the runs are of different datasets, or a file is damaged.
    """
    data = _shared_dataset(runs)
    prepare_dataset(data)
    images = FolderDataset(data, split)
    confusion = ConfusionMatrix.empty(len(data.classes))
    for place in progress(range(len(images))):
        sample = images[place]
        if sample.mask is None:
            raise InputError(f"sample '{sample.id}' of {data.name} has no mask to compare with.")
        mask = predictor.predict(sample.image, keep_probabilities=False).mask
        predicted, truth = torch.from_numpy(mask).long(), torch.from_numpy(sample.truth)
        confusion += count_image(sample.id, predicted, truth, len(data.classes))
    return InferenceRecord(
        run_ids=[run.record.run_id for run in runs],
        weighting=weighting,
        inference=predictor.spec,
        split=split,
        images_sha256=fingerprint(images.ids),
        n_images=len(images),
        confusion_matrix=confusion.counts.tolist(),
        metrics=metrics_record(confusion, data.classes),
        plain_miou=_plain_miou(runs, split),
        finished=now(),
        environment=environment,
    )


def _shared_dataset(runs: Sequence[TrainedRun]) -> DatasetSpec:
    """Return the dataset that all runs were trained on.

    Raises:
        InputError: there are several.
    """
    first = runs[0].record.spec.dataset
    for run in runs[1:]:
        if run.record.spec.dataset != first:
            raise InputError(
                f"an ensemble is scored on one dataset, but {runs[0].record.run_id} and "
                f"{run.record.run_id} were trained on different ones. Choose with --runs."
            )
    return first


def _plain_miou(runs: Sequence[TrainedRun], split: Split) -> float | None:
    """Return the mean of the runs' own mIoU; None where their records are of another split."""
    scores = []
    for run in runs:
        data, metrics = run.record.data, run.record.metrics
        assert data is not None
        assert isinstance(metrics, MetricsRecord)
        if data.report_split == split and metrics.miou is not None:
            scores.append(metrics.miou)
    if len(scores) < len(runs):
        return None
    return fmean(scores)


def save_inference_record(record: InferenceRecord, folder: Path) -> Path:
    """Write a record into the folder of its run, or of an ensemble's study; return the file.

    Each set of runs, settings and images has a file of its own.
    """
    keys = {"run_ids", "weighting", "inference", "split", "images_sha256"}
    content = json.dumps(record.model_dump(mode="json", include=keys), sort_keys=True)
    path = folder / f"inference-{hashlib.sha256(content.encode()).hexdigest()[:10]}.json"
    write_checked(path, record.model_dump(mode="json"))
    return path


def gain_table(record: InferenceRecord, path: Path) -> str:
    """Return all metrics for the terminal, what the settings gain, and the record's file."""
    title = f"{record.run_ids[0]}, {record.split}, {plural(record.n_images, 'image')}"
    if len(record.run_ids) > 1:
        title = f"ensemble of {len(record.run_ids)} runs, {record.split}, "
        title += plural(record.n_images, "image")
    lines = [score_table(record.metrics, title)]
    if record.gain is not None and record.plain_miou is not None:
        plain = f"plain mIoU {100 * record.plain_miou:.2f} %"
        lines.append(f"  gain {100 * record.gain:+.2f} points over the {plain}")
    lines.append(f"  record: {path}")
    return "\n".join(lines)
