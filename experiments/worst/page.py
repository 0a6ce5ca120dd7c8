"""The page of what goes wrong, worst first; it needs no other file."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import Color, colorize
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.reporting.figures.pictures import error_map, jpeg, png
from encoder_ablations.experiments.worst.findings import (
    Findings,
    ImageFindings,
    Region,
    predicted_mask,
)
from encoder_ablations.utils.pages.html_page import render_page

MARGIN = 24
"""Pixels shown around a wrong region, at least."""
PREDICTIONS = 64
"""Predicted masks that are kept while the page is drawn."""


class Shown(NamedTuple):
    """What the page shows.

    Attributes:
        images: worst ones, first.
        regions: the largest wrong ones, first.
        pairs: (first model, second model, images with most pixels where only the first is right).
    """

    images: list[ImageFindings]
    regions: list[Region]
    pairs: list[tuple[int, int, list[ImageFindings]]]


class Album:
    """Pictures of images and of what models predict for them.

    Args:
        images: with masks.
        predictors: one for each model.
        colors: of the classes.
    """

    def __init__(
        self, images: FolderDataset, predictors: Sequence[Predictor], colors: tuple[Color, ...]
    ) -> None:
        self._images = images
        self._predictors = predictors
        self._colors = colors
        self.sample = lru_cache(maxsize=PREDICTIONS)(images.__getitem__)
        self._mask = lru_cache(maxsize=PREDICTIONS)(self._predicted)

    def image(self, found: ImageFindings, names: Sequence[str]) -> dict[str, Any]:
        """Return pictures of an image, its truth, and each model's prediction and errors."""
        sample = self.sample(found.place)
        assert sample.mask is not None
        models = []
        for model, name in enumerate(names):
            mask = self._mask(model, found.place)
            models.append(
                {
                    "name": name,
                    "iou": _percent(float(found.ious[model])),
                    "prediction": png(colorize(mask, self._colors)),
                    "errors": jpeg(error_map(sample.image, sample.mask, mask, sample.ignore)),
                }
            )
        return {
            "id": found.id,
            "place": found.place,
            "file": self._images.image_file(found.place).resolve().as_uri(),
            "image": jpeg(sample.image),
            "truth": png(colorize(sample.mask, self._colors)),
            "models": models,
        }

    def region(self, place: int, found: Region) -> dict[str, str]:
        """Return pictures of the surroundings of a wrong region.

        Args:
            place: of its image.
            found: the region.
        """
        sample = self.sample(place)
        assert sample.mask is not None
        mask = self._mask(found.model, place)
        window = _around(found.region.box, (sample.image.shape[0], sample.image.shape[1]))
        errors = error_map(sample.image, sample.mask, mask, sample.ignore)
        return {
            "image": jpeg(np.ascontiguousarray(sample.image[window])),
            "errors": jpeg(np.ascontiguousarray(errors[window])),
        }

    def _predicted(self, model: int, place: int) -> np.ndarray:
        return predicted_mask(self._predictors[model], self.sample(place))


def _around(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Return rows and columns of a box with a margin, within an image of (H, W)."""
    top, left, height, width = box
    margin = max(MARGIN, max(height, width) // 2)
    rows = slice(max(0, top - margin), min(size[0], top + height + margin))
    columns = slice(max(0, left - margin), min(size[1], left + width + margin))
    return rows, columns


def render(
    title: str,
    facts: Iterable[str],
    names: Sequence[str],
    findings: Findings,
    shown: Shown,
    album: Album,
    classes: Sequence[str],
    colors: Sequence[Color],
) -> str:
    """Return the page as HTML.

    Args:
        title: what was looked at.
        facts: what a reader must know, one a line.
        names: of the models.
        findings: everything that was found.
        shown: which of it the page shows.
        album: its pictures.
        classes: their names.
        colors: of the classes.
    """
    legend = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*color)}
        for name, color in zip(classes, colors, strict=True)
    ]
    return render_page(
        Path(__file__).with_name("worst.html"),
        title=title,
        facts=list(facts),
        names=list(names),
        images=[album.image(image, names) for image in shown.images],
        others=[album.image(image, names) for image in _only_named(shown)],
        regions=_regions(names, findings, shown, album, classes),
        classes=class_rows(findings, classes),
        legend=legend,
        only=[[_percent(share) for share in row] for row in findings.only().tolist()],
        pairs=_pairs(shown, names),
    )


def _only_named(shown: Shown) -> list[ImageFindings]:
    """Return the images that differ most and are not among the worst, each once."""
    pictured = {image.place for image in shown.images}
    differing = [image for _, _, images in shown.pairs for image in images]
    others = {image.place: image for image in differing if image.place not in pictured}
    return list(others.values())


def _regions(
    names: Sequence[str], findings: Findings, shown: Shown, album: Album, classes: Sequence[str]
) -> list[dict[str, Any]]:
    places = {image.id: image.place for image in findings.images}
    return [
        {
            "id": each.region.image,
            "model": names[each.model],
            "pixels": each.region.pixels,
            "truth": classes[each.region.truth],
            "predicted": classes[each.region.predicted],
            **album.region(places[each.region.image], each),
        }
        for each in shown.regions
    ]


def _pairs(shown: Shown, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "right": names[first],
            "wrong": names[second],
            "images": [
                {
                    "id": image.id,
                    "place": image.place,
                    "pixels": int(image.only[first, second]),
                }
                for image in images
            ],
        }
        for first, second, images in shown.pairs
    ]


def class_rows(findings: Findings, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the classes in the truth with each model's IoU, the worst on average first.

    Each also says what its true pixels are most often taken for, over all models.
    """
    ious = findings.class_ious()
    counts = np.sum([each.counts for each in findings.confusions], axis=0)
    present = np.flatnonzero(counts.sum(axis=1))
    order = sorted(present.tolist(), key=lambda place: float(ious[:, place].mean()))
    rows = []
    for place in order:
        missed = counts[place].copy()
        missed[place] = 0
        taken_for = "–"
        if missed.any():
            share = missed.max() / counts[place].sum()
            taken_for = f"{classes[int(missed.argmax())]} ({_percent(float(share))} %)"
        each = [_percent(value) for value in ious[:, place].tolist()]
        rows.append({"name": classes[place], "ious": each, "taken_for": taken_for})
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
