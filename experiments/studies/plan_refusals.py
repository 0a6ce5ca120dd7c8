"""Faults of a study that end it before anything is computed; asking builds no model.

Other faults concern single runs, such as weights that cannot be downloaded: the others go on.
"""

from collections.abc import Sequence

from encoder_ablations.data.checks.training_check import CheckedDataset, check_dataset
from encoder_ablations.data.datasets.subsets import subset, training_order
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.weights.local_files import check_weights
from encoder_ablations.experiments.runs.fractions import alike
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.pseudo_labels.teacher import check_teacher, fitting_teacher
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError


def refuse_before_start(specs: Sequence[RunSpec]) -> None:
    """Check local files of weights and the teachers of runs.

    Args:
        specs: runs that are to be computed.

    Raises:
        InputError: a file of weights is missing, or a teacher cannot be used or has seen masks that
            its run calls unlabelled.
    """
    for group in alike(specs, ("encoder", "segmenter")):
        _check_weights(group[0])
    taught = [spec for spec in specs if spec.pseudo_labels is not None]
    for group in alike(taught, ("dataset", "fraction", "seed", "pseudo_labels")):
        _check_teacher(group[0])


def refuse_client_processes(study: str, runs: Sequence[PlannedRun], processes: int) -> None:
    """Refuse several processes for clients where no run has any.

    Args:
        study: its name.
        runs: those of the study.
        processes: how many are asked for.

    Raises:
        InputError: there is no federated run.
    """
    if processes > 1 and not any(run.spec.has_rounds for run in runs):
        raise InputError(
            f"--client-processes {processes} divides the clients of a federated run, and study "
            f"{study} has none. Use --processes {processes} for several runs at a time."
        )


def _check_weights(spec: RunSpec) -> None:
    """Check the weights of the encoder and of a second vision model."""
    check_weights(spec.encoder)
    second = getattr(spec.segmenter, "vfm", None)
    if second is not None:
        check_weights(load_encoder(second))


def _check_teacher(spec: RunSpec) -> None:
    """Check what a teacher has learned from, if it has learned from masks."""
    labels = spec.pseudo_labels
    assert labels is not None
    teacher = fitting_teacher(spec, labels)
    data = teacher.record.data
    assert data is not None
    if not data.n_train:
        return
    checked = _checked(spec)
    if checked is None:
        return
    order = training_order(spec.dataset.task, checked.scans["train"].present, spec.seed)
    check_teacher(spec, labels, checked, subset(order, spec.fraction))


def _checked(spec: RunSpec) -> CheckedDataset | None:
    """Return the run's dataset; None where it is not here or not in order.

    A plan needs no dataset, and a run says itself what is wrong with its files.
    """
    if not spec.dataset.is_prepared:
        return None
    try:
        return check_dataset(spec.dataset)
    except InputError:
        return None
