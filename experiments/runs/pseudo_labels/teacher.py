"""The teacher of a run, and the check that it has not seen the masks that the run lacks."""

from collections.abc import Collection

from encoder_ablations.data.checks.training_check import CheckedDataset
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.data.datasets.subsets import left_out, subset, training_order
from encoder_ablations.experiments.runs.pseudo_labels.weights import BEST, weights_digest
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.trained.run import TrainedRun, trained_run
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


def find_teacher(labels: PseudoLabelSpec) -> TrainedRun:
    """Return the run that predicts the masks.

    Raises:
        InputError: its folder is not given, or holds no finished run, or another one.
    """
    if labels.folder is None:
        raise InputError(
            f"pseudo_labels.folder: nothing says where the run {labels.run_id} lies. Add "
            "pseudo_labels.folder=PATH."
        )
    teacher = trained_run(labels.folder)
    same = teacher.record.run_id == labels.run_id
    if not same or weights_digest(labels.folder) != labels.checkpoint_sha256:
        raise InputError(
            f"pseudo_labels: {labels.folder} holds another run than {labels.run_id}, or another "
            f"{BEST} than the study was planned with. Restore it, or start the study again."
        )
    return teacher


def fitting_teacher(spec: RunSpec, labels: PseudoLabelSpec) -> TrainedRun:
    """Return the teacher of a run, after a check that it predicts the run's classes.

    Args:
        spec: the run.
        labels: its ``pseudo_labels``.

    Raises:
        InputError: the teacher cannot be used, or has other classes.
    """
    teacher = find_teacher(labels)
    record = teacher.record
    if record.spec.dataset.classes != spec.dataset.classes:
        raise InputError(
            f"pseudo_labels: the run {record.run_id} predicts "
            f"{', '.join(record.spec.dataset.classes)}, but the dataset '{spec.dataset.name}' has "
            f"{', '.join(spec.dataset.classes)}. Choose a run of the same classes."
        )
    return teacher


def check_teacher(
    spec: RunSpec, labels: PseudoLabelSpec, checked: CheckedDataset, labelled: Collection[int]
) -> TrainedRun:
    """Return the teacher of a run, after a check that the run can learn from it.

    Args:
        spec: the run.
        labels: its ``pseudo_labels``.
        checked: its dataset.
        labelled: positions of the training images that it has labels of.

    Raises:
        InputError: no image is left without labels, the teacher cannot be used or has other
            classes, or it learned from masks of images that this run has no labels of.
    """
    unlabelled = left_out(len(checked.datasets["train"]), labelled)
    if not unlabelled:
        raise InputError(
            f"pseudo_labels: the fraction {spec.fraction:g} leaves no training image without "
            "labels. Use a smaller fraction."
        )
    teacher = fitting_teacher(spec, labels)
    record = teacher.record
    seen = len(_seen(record, spec, checked).intersection(unlabelled))
    if seen:
        raise InputError(
            f"pseudo_labels: the run {record.run_id} learned from the masks of "
            f"{plural(seen, 'image')} that fraction {spec.fraction:g} and seed {spec.seed} call "
            "unlabelled. Choose a run without labels, or one of the same seed and at most this "
            "fraction."
        )
    return teacher


def _seen(record: RunRecord, spec: RunSpec, checked: CheckedDataset) -> set[int]:
    """Return the images whose masks a teacher may have learned from, as positions in the split.

    Args:
        record: of the teacher.
        spec: the run that learns from it.
        checked: the dataset of that run.

    Raises:
        InputError: the files have changed since, or those of another dataset are not here.
    """
    assert record.data is not None
    if not record.data.n_train:
        return set()
    teacher, train = record.spec, checked.datasets["train"]
    if teacher.dataset != spec.dataset:
        # its subset cannot be computed by these masks, so all images of its split count
        others = FolderDataset(teacher.dataset, "train")
        files = {others.image_file(index).resolve() for index in range(len(others))}
        return {index for index in range(len(train)) if train.image_file(index).resolve() in files}
    if record.data.dataset_sha256 != checked.fingerprint:
        raise InputError(
            f"pseudo_labels: the files of dataset '{spec.dataset.name}' have changed since the run "
            f"{record.run_id}, so nothing tells which images it learned from. Train it again."
        )
    order = training_order(spec.dataset.task, checked.scans["train"].present, teacher.seed)
    return set(subset(order, teacher.fraction))
