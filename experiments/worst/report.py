"""From finished runs to the page of what they get wrong."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.worst.findings import Findings, look_through
from encoder_ablations.experiments.worst.page import Album, Shown, render
from encoder_ablations.experiments.worst.selection import Compared
from encoder_ablations.experiments.worst.table import worst_table
from encoder_ablations.utils.files import write_text
from encoder_ablations.utils.progress import Bar
from encoder_ablations.utils.texts import plural

NAMED = 6
"""Images named for each pair of models."""


def write_worst(compared: Compared, predictors: Sequence[Predictor], most: int, page: Path) -> str:
    """Predict the test images again, write the page, and return the table for the terminal.

    The images are those of val where the dataset has no test.

    Args:
        compared: the runs.
        predictors: one for each run.
        most: images and regions that the page shows.
        page: the file.

    Raises:
        InputError: a checkpoint or a file of the dataset cannot be used.
    """
    data = compared.runs[0].record.spec.dataset
    prepare_dataset(data)
    images = FolderDataset(data, split_of(data))
    with Bar(total=len(images), unit="image") as bar:
        findings = look_through(predictors, images, most, bar.update)
    shown = _shown(findings, len(predictors), most)
    colors = colors_of(data)
    album = Album(images, predictors, colors)
    facts = _facts(compared, images)
    title = " · ".join(compared.names)
    names, classes = compared.names, data.classes
    write_text(page, render(title, facts, names, findings, shown, album, classes, colors))
    return worst_table(names, findings, shown, classes)


def split_of(data: DatasetSpec) -> Split:
    """Return the split that is looked through: test, or val where there is no test."""
    if "test" in data.splits:
        return "test"
    return "val"


def _shown(findings: Findings, models: int, most: int) -> Shown:
    pairs = [
        (first, second, findings.most_different(first, second, NAMED))
        for first, second in permutations(range(models), 2)
    ]
    return Shown(findings.worst_images(most), findings.largest_regions(most), pairs)


def _facts(compared: Compared, images: FolderDataset) -> Sequence[str]:
    where = f"{images.spec.name} {images.split}, {plural(len(images), 'image')}"
    runs = [
        f"{name}: {run.record.run_id}"
        for name, run in zip(compared.names, compared.runs, strict=True)
    ]
    return [where, *runs, *compared.notes, *compared.left_out]
