"""Evaluate a checkpoint, also on another dataset over the classes that both datasets share."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from encoder_ablations.data.datasets.class_map import SharedClasses
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.data.loading.cache import for_evaluation
from encoder_ablations.data.loading.items import EvaluationItem
from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.evaluation.evaluate import Evaluation, evaluate
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.metrics_record import shared_metrics
from encoder_ablations.experiments.runs.model import load_best
from encoder_ablations.experiments.runs.record import RunRecord, best_step
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.transfer.record import TransferRecord, save_transfer
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.environment import describe_environment
from encoder_ablations.utils.progress import Bar


class CheckpointResult(NamedTuple):
    """The result of evaluating a checkpoint.

    Attributes:
        step: the training step that it was saved at.
        environment: what computed it, see ``describe_environment``.
    """

    evaluation: Evaluation
    step: int
    ids: list[str]
    environment: dict[str, object]


def evaluate_checkpoint(
    folder: Path,
    spec: RunSpec,
    data: DatasetSpec,
    split: Split,
    execution: Execution,
    shared: SharedClasses | None = None,
    step: int | None = None,
) -> CheckpointResult:
    """Evaluate a run's best checkpoint on a split of any dataset.

    Args:
        folder: of the run.
        spec: of the run.
        data: the dataset.
        split: which of its images.
        execution: how it is computed.
        shared: the classes that count, all others as one more; None = the run's own dataset.
        step: when the run's record says that the best checkpoint was saved; None = no record.

    Raises:
        InputError: there is no checkpoint, it is damaged or of another run, or a file of the
            dataset is damaged.
    """
    accelerator = make_accelerator(execution.device)
    execution = execution.on(accelerator.device.type, torch.cuda.device_count())
    segmenter, saved_at = load_best(folder, spec, step)
    prepare_dataset(data)
    images = FolderDataset(data, split)
    items: Iterable[EvaluationItem] = evaluation_items(
        for_evaluation(images, spec.recipe.augmentation),
        list(range(len(images))),
        spec.recipe.augmentation,
        workers=execution.loaders,
    )
    classes, relabel = len(data.classes), None
    if shared is not None:
        classes = len(shared.names) + 1
        relabel = torch.from_numpy(shared.prediction).to(accelerator.device)
        items = _translated(items, torch.from_numpy(shared.truth))
    source = FeatureSource(segmenter.to(accelerator.device), spec.recipe, execution.store())
    read = partial(source.evaluation, images)
    with (
        computing(accelerator.device, "fp32", execution.deterministic),
        Bar(total=len(images), unit="image") as bar,
    ):
        environment = describe_environment(str(accelerator.device))
        rest = (0, bar.update, read, relabel, execution.evaluation_batch)
        result = evaluate(segmenter, items, classes, accelerator, *rest)
    return CheckpointResult(result, saved_at, images.ids, environment)


def _translated(items: Iterable[EvaluationItem], truth: torch.Tensor) -> Iterator[EvaluationItem]:
    return (item._replace(mask=truth[item.mask]) for item in items)


def evaluate_elsewhere(
    folder: Path,
    run: RunRecord,
    data: DatasetSpec,
    split: Split,
    shared: SharedClasses,
    execution: Execution,
) -> TransferRecord:
    """Evaluate a finished run on another dataset and write the record beside the run's own.

    Raises:
        InputError: see :func:`evaluate_checkpoint`.
    """
    result = evaluate_checkpoint(folder, run.spec, data, split, execution, shared, best_step(run))
    counts = result.evaluation.confusion.counts
    at_home = None
    if run.confusion_matrix is not None:
        home = shared.fold(np.array(run.confusion_matrix))
        at_home = shared_metrics(home, shared.names)
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
        at_home=at_home,
        checkpoint_step=result.step,
        finished=now(),
        environment=result.environment,
    )
    save_transfer(folder, record)
    return record
