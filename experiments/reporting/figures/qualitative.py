"""Pictures: image, truth, and every encoder's prediction and errors on the same few images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.palette import colorize
from encoder_ablations.data.datasets.sample import IGNORE, ignore_label
from encoder_ablations.experiments.reporting.figures.pictures import error_map, jpeg, png
from encoder_ablations.experiments.reporting.findings.groups import (
    MOST_CLASSES,
    FinishedRun,
    RunGroup,
    Setting,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.record_parts import DataRecord

MOST_IMAGES = 4
MOST_NAMED = 40
"""Most classes in the legend, in datasets of very many."""


@dataclass(frozen=True)
class Prediction:
    """One encoder's prediction for an image.

    Attributes:
        encoder: its title.
        prediction: data URI of the predicted classes in their colours.
        errors: data URI, see :func:`.pictures.error_map`.
        right: share of the labelled pixels that is right; None if no pixel is labelled.
        name: the predicted class, where a whole image has one; "" otherwise.
    """

    encoder: str
    prediction: str
    errors: str
    right: float | None
    name: str = ""


@dataclass(frozen=True)
class Row:
    """One image; ``image`` and ``truth`` are data URIs, ``name`` as in :class:`Prediction`."""

    id: str
    image: str
    truth: str
    predictions: list[Prediction]
    name: str = ""


@dataclass(frozen=True)
class LegendEntry:
    """A class and its colour as ``#rrggbb``."""

    name: str
    color: str


@dataclass(frozen=True)
class PictureGrid:
    """Pictures of a setting's reference fraction, all from one seed.

    Attributes:
        rows: one for each image.
        legend: the classes' colours.
        fraction: share of the training images; None without pictures.
        seed: None without pictures.
        notes: what could not be shown and why.
    """

    rows: Sequence[Row] = ()
    legend: Sequence[LegendEntry] = ()
    fraction: float | None = None
    seed: int | None = None
    notes: Sequence[str] = ()


def picture_grid(study: Study, setting: Setting, encoders: list[str]) -> PictureGrid:
    """Return the pictures that every encoder has, from the first seed that all of them share.

    Args:
        study: where the pictures lie.
        setting: whose runs at the reference fraction are shown.
        encoders: in the order of the columns.
    """
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    pictured = [_with_pictures(group) for group in groups]
    absent = [encoder for encoder, by_seed in zip(encoders, pictured, strict=True) if not by_seed]
    shown = list(filter(None, pictured))
    notes = []
    if absent:
        notes.append(f"No pictures were kept for {formats.listing(absent)}.")
    if not shown:
        return PictureGrid(notes=notes)
    # runs of one seed saw the same images in the same order
    seeds = set.intersection(*map(set, shown))
    if not seeds:
        return PictureGrid(notes=[*notes, "No seed has pictures of all encoders."])
    return _grid(study, setting, [by_seed[min(seeds)] for by_seed in shown], notes)


def _with_pictures(group: RunGroup) -> dict[int, FinishedRun]:
    """Return seed -> run, for the runs that kept pictures."""
    return {run.spec.seed: run for run in group.runs if run.pictures}


def _grid(study: Study, setting: Setting, runs: list[FinishedRun], notes: list[str]) -> PictureGrid:
    """Return the pictures of runs of one seed, and what could not be shown."""
    rows = []
    for id in _shared_ids(runs):
        try:
            rows.append(_row(study, runs, id))
        except (OSError, ValueError) as error:
            notes.append(f"The pictures of {id} are not shown: {error}.")
    legend = _legend(runs[0].data)
    if len(legend) > MOST_CLASSES:
        frequent = _frequent(study, runs, [row.id for row in rows])
        named = f"the {len(frequent)} classes with most pixels in these pictures"
        notes.append(f"The legend names {named}; the dataset has {len(legend)} classes.")
        legend = [legend[place] for place in frequent]
    return PictureGrid(rows, legend, setting.reference, runs[0].spec.seed, notes)


def _shared_ids(runs: list[FinishedRun]) -> list[str]:
    shared = set.intersection(*(set(run.pictures) for run in runs))
    return [id for id in runs[0].pictures if id in shared][:MOST_IMAGES]


def _legend(data: DataRecord) -> list[LegendEntry]:
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in data.colors]
    return list(map(LegendEntry, data.class_names, colors))


def _frequent(study: Study, runs: list[FinishedRun], ids: list[str]) -> list[int]:
    """Return ids of the classes with most pixels in these images' masks, in id order."""
    classes = len(runs[0].data.class_names)
    pixels = np.zeros(classes, np.int64)
    shown = [(runs[0], "truth"), *product(runs, ["prediction"])]
    for id, (run, kind) in product(ids, shown):
        labels = _labels(study, run, f"{id}.{kind}.png")
        pixels += np.bincount(labels[labels < classes], minlength=classes)
    most = np.argsort(-pixels, kind="stable")[:MOST_NAMED]
    return sorted(most[pixels[most] > 0].tolist())


def _row(study: Study, runs: list[FinishedRun], id: str) -> Row:
    truth = _labels(study, runs[0], f"{id}.truth.png")
    with _opened(study, runs[0], f"{id}.image.jpg") as file:
        picture = file.convert("RGB")
        # one pixel: the class of the whole image
        size = picture.size if truth.shape == (1, 1) else truth.shape[::-1]
        image = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    named = _name(truth, runs[0].data)
    truth = np.broadcast_to(truth, image.shape[:2])
    colors = tuple(runs[0].data.colors)
    ignore = ignore_label(len(colors))
    predictions = []
    for run in runs:
        labels = _labels(study, run, f"{id}.prediction.png")
        name = _name(labels, run.data)
        if name:
            labels = np.broadcast_to(labels, truth.shape)
        if labels.shape != truth.shape:
            path = f"{run.run_id}/pictures/{id}.prediction.png"
            raise ValueError(f"{path} has the size {labels.shape}, the truth {truth.shape}")
        shown = png(colorize(labels, colors))
        errors = jpeg(error_map(image, truth, labels, ignore))
        right = right_share(truth, labels, ignore)
        predictions.append(Prediction(study.titles[run.run_id], shown, errors, right, name))
    return Row(id, jpeg(image), png(colorize(truth, colors)), predictions, named)


def _name(labels: np.ndarray, data: DataRecord) -> str:
    """Return the name of the one class of a whole image; "" for a mask."""
    if labels.shape != (1, 1):
        return ""
    return data.class_names[int(labels[0, 0])]


def right_share(truth: np.ndarray, labels: np.ndarray, ignore: int = IGNORE) -> float | None:
    """Return the share of the labelled pixels that is right; None if no pixel is labelled."""
    right = (labels == truth)[truth != ignore]
    if not right.size:
        return None
    return float(right.mean())


@contextmanager
def _opened(study: Study, run: FinishedRun, name: str) -> Iterator[Image.Image]:
    """Open a picture of a run; a picture names its run, and another run's is refused."""
    path = study.run_folder(run.run_id) / "pictures" / name
    with Image.open(path) as file:
        owner = file.info.get("run") or file.info.get("comment", b"").decode(errors="replace")
        if owner != run.run_id:
            raise ValueError(f"{path} is of another run, {owner or 'not named'}")
        yield file


def _labels(study: Study, run: FinishedRun, name: str) -> np.ndarray:
    with _opened(study, run, name) as file:
        known = file.mode in ("L", "P") or file.mode.startswith("I")
        return np.asarray(file if known else file.convert("L"), dtype=np.int64)
