"""Trained on A, tested on B: a checkpoint on another dataset, over the classes that both know."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import ValidationError
from tqdm import tqdm

from encoder_ablations.data.cache import for_evaluation
from encoder_ablations.data.class_map import OTHER, SharedClasses
from encoder_ablations.data.folder import FolderDataset
from encoder_ablations.data.loading import EvaluationItem, evaluation_items
from encoder_ablations.data.spec import DatasetSpec, Split
from encoder_ablations.data.subsets import fingerprint
from encoder_ablations.engine.checkpoints import load_checkpoint, load_model
from encoder_ablations.engine.confusion import ConfusionMatrix
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluate import Evaluation, evaluate
from encoder_ablations.engine.features import FeatureSource
from encoder_ablations.experiments.execution import Execution
from encoder_ablations.experiments.run import build_model, metrics_record
from encoder_ablations.experiments.run_record import MetricsRecord, Part, RunRecord
from encoder_ablations.experiments.run_spec import RunSpec
from encoder_ablations.utils.environment import describe_environment
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_json


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


class CheckpointResult(NamedTuple):
    """What evaluating a checkpoint gives; ``step`` is the training step that it was saved at."""

    evaluation: Evaluation
    step: int
    ids: list[str]
    device: str


def evaluate_checkpoint(
    folder: Path,
    spec: RunSpec,
    data: DatasetSpec,
    split: Split,
    execution: Execution,
    shared: SharedClasses | None = None,
) -> CheckpointResult:
    """A run's best checkpoint on a split of any dataset.

    Args:
        shared: counts these classes, and as the last one all others; None = the dataset is the run's own.

    Raises:
        InputError: there is no checkpoint, or a file of the dataset is damaged.
    """
    accelerator = make_accelerator(execution.device)
    path = folder / "checkpoints" / "best.pt"
    checkpoint = load_checkpoint(path)
    segmenter = build_model(spec.model_copy(update={"encoder": spec.encoder.model_copy(update={"weights": "random"})}))
    load_model(segmenter, checkpoint["model"], path)
    images = FolderDataset(data, split)
    items: Iterable[EvaluationItem] = evaluation_items(
        for_evaluation(images, spec.recipe.augmentation),
        list(range(len(images))),
        spec.recipe.augmentation,
        workers=execution.workers,
    )
    classes, relabel = len(data.classes), None
    if shared is not None:
        classes, relabel = len(shared.names) + 1, torch.from_numpy(shared.prediction).to(accelerator.device)
        items = _translated(items, torch.from_numpy(shared.truth))
    source = FeatureSource(segmenter.to(accelerator.device), spec.recipe, execution.store())
    read = partial(source.evaluation, images)
    with tqdm(total=len(images), unit="image", dynamic_ncols=True) as bar:
        result = evaluate(segmenter, items, classes, accelerator, advance=bar.update, read=read, relabel=relabel)
    return CheckpointResult(result, checkpoint["step"], images.ids, str(accelerator.device))


def _translated(items: Iterable[EvaluationItem], truth: torch.Tensor) -> Iterator[EvaluationItem]:
    return (item._replace(mask=truth[item.mask]) for item in items)


def evaluate_elsewhere(
    folder: Path, run: RunRecord, data: DatasetSpec, split: Split, shared: SharedClasses, execution: Execution
) -> TransferRecord:
    """Evaluates a finished run on another dataset and writes the record beside the run's own.

    Raises:
        InputError: see :func:`evaluate_checkpoint`.
    """
    result = evaluate_checkpoint(folder, run.spec, data, split, execution, shared)
    counts = result.evaluation.confusion.counts
    home = None if run.confusion_matrix is None else shared.fold(np.array(run.confusion_matrix))
    record = TransferRecord(
        run_id=run.run_id,
        trained_on=run.spec.dataset.name,
        tested_on=data.name,
        split=split,
        n_images=len(result.ids),
        images_sha256=fingerprint(result.ids),
        trained={name: list(members) for name, members in shared.trained.items()},
        tested={name: list(members) for name, members in shared.tested.items()},
        class_names=list(shared.names),
        confusion_matrix=counts[:-1].tolist(),
        metrics=shared_metrics(counts, shared.names),
        at_home=None if home is None else shared_metrics(home, shared.names),
        checkpoint_step=result.step,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=describe_environment(result.device),
    )
    write_json(transfer_file(folder, record), record.model_dump(mode="json"))
    return record


def shared_metrics(counts: np.ndarray, names: tuple[str, ...]) -> MetricsRecord:
    """Metrics over S classes from (S+1)×(S+1) counts, whose last row is empty and whose last column is "other".

    "Other" is no class: it makes its pixels misses, and is not averaged over.
    """
    record = metrics_record(ConfusionMatrix(counts), (*names, OTHER))
    by_class = {
        key: {name: value for name, value in getattr(record, key).items() if name != OTHER}
        for key in ("per_class_iou", "per_class_dice", "per_class_accuracy")
    }
    known = [value for value in by_class["per_class_iou"].values() if value is not None]
    means = {"miou_union": sum(known) / len(known) if known else None, "miou_all": sum(known) / len(names)}
    return record.model_copy(update={**by_class, **means})


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
