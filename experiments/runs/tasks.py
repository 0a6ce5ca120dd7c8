"""Keeps segmentation and classification apart in studies and reports."""

from collections.abc import Sequence

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.errors import InputError


def refuse_two_tasks(datasets: Sequence[DatasetSpec], where: str) -> None:
    """Refuse to put runs of two tasks side by side: their scores cannot be compared.

    Args:
        datasets: of all runs.
        where: begins the message.

    Raises:
        InputError: some are for segmentation, and some for classification.
    """
    named: dict[Task, str] = {}
    for dataset in datasets:
        named.setdefault(dataset.task, dataset.name)
    if len(named) > 1:
        examples = ", ".join(f"'{name}' is for {task}" for task, name in named.items())
        raise InputError(
            f"{where} mixes two tasks, whose scores cannot be compared: {examples}. "
            "Make a study of each."
        )


def refuse_transfer(datasets: Sequence[DatasetSpec]) -> None:
    """Refuse tests on other datasets where a dataset is for classification.

    Args:
        datasets: those that runs were trained on, and the one that they would be tested on.

    Raises:
        InputError: one has no masks.
    """
    for dataset in datasets:
        if dataset.task == "classification":
            raise InputError(
                f"--dataset compares masks, and '{dataset.name}' is for classification. Leave out "
                "--dataset to evaluate a run on its own dataset."
            )
