"""The images of a run: which of them it learns from, and which its number is measured on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from encoder_ablations.data.checks.training_check import CheckedDataset, check_dataset
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.data.datasets.pseudo_labels.dataset import PseudoLabelled
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.datasets.subsets import fingerprint, left_out, subset, training_order
from encoder_ablations.data.loading.balancing import Mixed
from encoder_ablations.data.loading.cache import CachedDataset, for_evaluation, for_training
from encoder_ablations.data.loading.mixing import check_partners
from encoder_ablations.data.loading.stored_set import StoredSet
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.federated.private import large_client_delta
from encoder_ablations.engine.training.federated.remote import RemoteClients
from encoder_ablations.engine.training.private.checks import check_private_images, large_delta
from encoder_ablations.experiments.runs.federated.division import Division, division_of
from encoder_ablations.experiments.runs.fractions import refuse_other_fraction
from encoder_ablations.experiments.runs.pseudo_labels.masks import (
    describe_masks,
    mask_file,
    masks_folder,
    write_masks,
)
from encoder_ablations.experiments.runs.pseudo_labels.threshold import (
    of_threshold,
    threshold_from_val,
    threshold_of,
)
from encoder_ablations.experiments.runs.record_parts import DataRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


@dataclass(frozen=True)
class Images:
    """Some images of a split.

    Attributes:
        indices: positions in ``samples``.
    """

    split: Split
    samples: CachedDataset | FolderDataset | StoredSet
    indices: list[int]


@dataclass(frozen=True)
class RunData:
    """The images of one run.

    Attributes:
        train: what it learns from.
        val: what its best checkpoint is chosen on.
        report: what its number is measured on.
        checked: the dataset, all splits.
        warnings: sentences about what is allowed but makes the result doubtful.
        division: the training images of each client; None = central training.
        remote: the clients, where they are processes of their own.
    """

    train: Images
    val: Images
    report: Images
    record: DataRecord
    checked: CheckedDataset
    warnings: tuple[str, ...] = ()
    division: Division | None = None
    remote: RemoteClients | None = None


def prepare_data(spec: RunSpec) -> RunData:
    """Check the dataset and pick the run's images, those with labels.

    Raises:
        InputError: anything wrong with the files, or a fraction that leaves no image.
    """
    refuse_other_fraction(spec)
    checked = check_dataset(spec.dataset)
    train, division = _training_images(spec, checked)
    if spec.recipe.overfit:
        val = report = train
    else:
        val = report = all_images(spec, checked, "val")
        # a choice among trials must not depend on test images
        if "test" in checked.datasets and not spec.is_trial:
            report = all_images(spec, checked, "test")
    record = _data_record(spec, checked, train, val, report)
    warnings = [*checked.warnings]
    for delta in (
        large_delta(spec.recipe.privacy, record.n_train),
        large_client_delta(spec.federation),
    ):
        if delta is not None:
            warnings.append(delta)
    return RunData(train, val, report, record, checked, tuple(warnings), division)


def with_pseudo_labels(
    data: RunData, spec: RunSpec, study: Path, load: Callable[[], Predictor]
) -> RunData:
    """Return a run's data with predicted masks for all other training images.

    Nothing changes without ``pseudo_labels``. A set on disk that ``ablate cache`` wrote is not
    read for training, because it holds the masks of all images.

    Args:
        data: the images with labels.
        spec: the run.
        study: folder of the study, which keeps the masks.
        load: returns the teacher's predictor; called if a mask is missing.

    Raises:
        InputError: a predicted mask is damaged.
    """
    labels = spec.pseudo_labels
    if labels is None:
        return data
    train = FolderDataset(spec.dataset, "train")
    others = left_out(len(train), data.train.indices)
    folder = masks_folder(study, labels, train, data.record.dataset_sha256)
    chosen = threshold_from_val(folder, labels, data.checked.datasets["val"], load)
    threshold = threshold_of(labels, chosen)
    write_masks(folder, threshold, train, others, load)
    predicted = {index: mask_file(folder, index) for index in others}
    about = describe_masks(predicted.values(), spec.dataset.ignore_label)
    about = about.model_copy(update={"chosen": chosen})
    samples = CachedDataset(PseudoLabelled(spec.dataset, predicted))
    indices = sorted([*data.train.indices, *others])
    disclosure = (
        f"{plural(about.n_images, 'training image')} without labels had masks that the run "
        f"{labels.run_id} predicted; {100 * about.share_of_pixels:.1f} % of their pixels reached "
        f"the threshold {threshold:g}. {of_threshold(chosen, data.report.split)}Balanced class "
        "weights count labelled images only."
    )
    return replace(
        data,
        train=Images("train", samples, indices),
        record=data.record.model_copy(update={"pseudo_labels": about}),
        warnings=(*data.warnings, disclosure),
    )


def _training_images(spec: RunSpec, checked: CheckedDataset) -> tuple[Images, Division | None]:
    """Return the images that the run learns from, and how they are divided among clients.

    That is the run's fraction of the training images. A client that trains alone has its own part
    of it, and in overfit mode fewer are left.
    """
    samples = for_training(checked.datasets["train"], spec.recipe.augmentation)
    present = checked.scans["train"].present
    if not spec.fraction:
        return Images("train", samples, []), None
    indices = subset(training_order(spec.dataset.task, present, spec.seed), spec.fraction)
    chosen = partial(learnt_from, spec.recipe, spec.dataset.name, present=present)
    train = (checked.datasets["train"], checked.scans["train"])
    division = None
    if spec.federation is not None:
        division = division_of(spec, spec.federation, *train, indices)
        if spec.federation.alone is not None:
            indices = division.clients[spec.federation.alone]
        division = replace(division, clients=list(map(chosen, division.clients)))
    return Images("train", samples, chosen(indices)), division


def all_images(spec: RunSpec, checked: CheckedDataset, split: Split) -> Images:
    """Return a split that a run is validated or measured on."""
    # validation images are read again and again
    folder, keep = checked.datasets[split], split == "val"
    samples = for_evaluation(folder, spec.recipe.augmentation, keep=keep)
    return Images(split, samples, list(range(len(samples))))


def learnt_from(recipe: Recipe, name: str, indices: list[int], present: np.ndarray) -> list[int]:
    """Return the images that a training learns from, as its recipe says.

    That is mixed by ``pos_ratio``, and fewer in overfit mode.

    Args:
        recipe: of the training.
        name: of the dataset.
        indices: of the images that there are.
        present: N×K, whether an image holds a class.

    Raises:
        InputError: the recipe does not fit the images.
    """
    if recipe.pos_ratio is not None:
        indices = _mixed(name, recipe.pos_ratio, indices, present)
    if recipe.overfit:
        indices = indices[: recipe.overfit]
    check_partners(recipe.augmentation.mix, indices)
    check_private_images(recipe, len(indices))
    return indices


def _mixed(name: str, pos_ratio: float, indices: list[int], present: np.ndarray) -> Mixed:
    """Return the indices, drawn so that a share of ``pos_ratio`` holds the object.

    Args:
        name: of the dataset.
        pos_ratio: 0..1.
        indices: of the images that are learnt from.
        present: N×K, whether an image holds a class.
    """
    classes = present.shape[1]
    if classes != 2:
        raise InputError(
            "recipe.pos_ratio needs a dataset of two classes, background and object; "
            f"'{name}' has {classes}. Leave it out."
        )
    return Mixed(indices, present[:, 1], pos_ratio)


def _data_record(
    spec: RunSpec, checked: CheckedDataset, train: Images, val: Images, report: Images
) -> DataRecord:
    names = [train.samples.ids[index] for index in train.indices]
    counts: list[list[int]] = [
        checked.scans["train"].counts[index].tolist() for index in train.indices
    ]
    masks = [f"{name} {count}" for name, count in zip(names, counts, strict=True)]
    classes = checked.datasets["train"].image_classes
    if classes is not None:
        chosen = [classes[index] for index in train.indices]
        masks = [f"{mask} {number}" for mask, number in zip(masks, chosen, strict=True)]
    n_test = None
    if "test" in checked.datasets:
        n_test = len(checked.datasets["test"])
    return DataRecord(
        train_ids_sha256=fingerprint(names),
        train_masks_sha256=fingerprint(masks),
        n_train=len(train.indices),
        n_val=len(val.indices),
        n_test=n_test,
        fraction=spec.fraction,
        class_names=list(spec.dataset.classes),
        class_pixels=_pixels_of_classes(counts, len(spec.dataset.classes)),
        colors=colors_of(spec.dataset),
        report_split=report.split,
        dataset_sha256=checked.fingerprint,
    )


def _pixels_of_classes(counts: list[list[int]], classes: int) -> list[int]:
    """Return the pixels of each class in all images; zeros if there is no image."""
    pixels: list[int] = np.sum([[0] * classes, *counts], axis=0).tolist()
    return pixels
