"""Which runs of a plan would have no training image; asks files for their names alone."""

from collections import defaultdict
from collections.abc import Sequence

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.subsets import subset
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError


def refuse_other_fraction(spec: RunSpec) -> None:
    """Refuse a share of the training images that a head does not go with.

    Raises:
        InputError: the fraction is 0 and the head learns from labels, or the head needs none and
            the fraction is not 0.
    """
    needs_labels = spec.segmenter.learning != "nothing"
    if needs_labels and not spec.fraction:
        raise InputError(
            f"fraction 0: the head {spec.segmenter.title} learns from labels. Give it more than 0, "
            "or use a head that needs none (ablate heads: learns nothing)."
        )
    if spec.fraction and not needs_labels:
        raise InputError(
            f"fraction {spec.fraction:g}: the head {spec.segmenter.title} needs no labels. Write "
            "fraction 0."
        )


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
            if not spec.fraction:
                continue
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
    """Return the specs in groups that agree in these fields.

    How weights are updated does not count: it changes neither images nor models.
    """
    found: defaultdict[str, list[RunSpec]] = defaultdict(list)
    for spec in specs:
        left_out = {"recipe": {"optimizer", "schedule"}}
        found[spec.model_dump_json(include=set(fields), exclude=left_out)].append(spec)
    return list(found.values())
