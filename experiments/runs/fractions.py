"""Which runs of a plan would have no training image; asks files for their names alone."""

from collections import defaultdict
from collections.abc import Sequence

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.subsets import subset
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError


def impossible_fractions(specs: Sequence[RunSpec]) -> dict[str, str]:
    """Return which runs would have no image, as far as the names of files tell: run id -> a line.

    Datasets that are not on this machine, or whose files are not in order, are passed over: a plan
    needs none.
    """
    problems: dict[str, str] = {}
    for same_data in alike(specs, ("dataset",)):
        images = _training_images(same_data[0].dataset)
        if images is None:
            continue
        for spec in same_data:
            try:
                subset(range(images), spec.fraction)
            except InputError as error:
                problems[spec.run_id] = str(error)
    return problems


def _training_images(dataset: DatasetSpec) -> int | None:
    """Return how many training images a dataset has; None where that cannot be found out here."""
    if not dataset.is_prepared:
        return None
    try:
        return len(FolderDataset(dataset, "train"))
    except InputError:
        return None


def alike(specs: Sequence[RunSpec], fields: tuple[str, ...]) -> list[list[RunSpec]]:
    """Return the specs in groups that agree in these fields."""
    found: defaultdict[str, list[RunSpec]] = defaultdict(list)
    for spec in specs:
        found[spec.model_dump_json(include=set(fields))].append(spec)
    return list(found.values())
