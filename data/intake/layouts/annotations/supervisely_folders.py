"""Supervisely's projects as class ids: ``meta.json``, ``SET/img/NAME``, ``SET/ann/NAME.json``.

https://docs.supervisely.com/data-organization/00_ann_format_navi.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.datasets.supervisely import read_annotation
from encoder_ablations.data.intake.layouts.annotations.annotated_set import (
    AnnotatedSet,
    split_of_annotations,
)
from encoder_ablations.data.intake.layouts.annotations.coco import BACKGROUND
from encoder_ablations.data.intake.layouts.annotations.shapes import (
    BACKGROUND_NAMES,
    naming_damage,
)


@dataclass(frozen=True)
class SuperviselyImage:
    """An image and its annotation.

    Attributes:
        id: the stem of the image's name.
        split: None where no name says it.
        image: where the image lies.
        annotation: where the JSON lies.
        titles: of all classes of the project.
        used: position in ``titles`` of each object's class.
    """

    id: str
    split: Split | None
    image: Path
    annotation: Path
    titles: tuple[str, ...]
    used: tuple[int, ...]

    def areas(self, class_of: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """Yield the class id of each object, with 1: areas are not stated."""
        for title in self.used:
            yield class_of[title], 1

    def draw(self, class_of: Mapping[int, int]) -> np.ndarray:
        """Return H×W class ids: later objects on top, 0 where none is.

        Raises:
            InputError: the annotation is damaged.
        """
        table = np.array([0, *(class_of[title] for title in range(len(self.titles)))])
        kind = mask_type(ignore_label(1 + len(class_of)))
        ids: np.ndarray = table.astype(kind)[read_annotation(self.annotation, self.titles)]
        return ids


def read_supervisely(root: Path, files: Sequence[Path]) -> AnnotatedSet[SuperviselyImage] | None:
    """Return the images of a project below ``root``; None where there is none.

    Raises:
        InputError: ``meta.json`` or an annotation is damaged.
    """
    there = set(files)
    notes = [path for path in files if path.parent.name == "ann" and path.suffix == ".json"]
    metas = [path for path in files if path.name == "meta.json"]
    if not notes or not metas:
        return None
    titles = _titles(metas[0])
    images, missing = [], []
    for note in notes:
        image = note.parents[1] / "img" / note.stem
        if image not in there:
            missing.append(str(image.relative_to(root)))
            continue
        split = split_of_annotations(Path(), image, root)
        used = _used(note, titles)
        images.append(SuperviselyImage(image.stem, split, image, note, titles, used))
    classes, class_of = _classes(titles)
    return AnnotatedSet[SuperviselyImage](
        "Supervisely's folders", "outlines, later ones on top", images, classes, class_of, missing
    )


def _classes(titles: Sequence[str]) -> tuple[list[str], dict[int, int]]:
    """Return the names of the classes, and the class of each title; "background" is class 0."""
    classes = [BACKGROUND, *(each for each in titles if each.lower() not in BACKGROUND_NAMES)]
    class_of = dict.fromkeys(range(len(titles)), 0)
    class_of |= {titles.index(title): classes.index(title) for title in classes[1:]}
    return classes, class_of


def _titles(meta: Path) -> tuple[str, ...]:
    with naming_damage(f"{meta} lists no classes of Supervisely's"):
        content: dict[str, Any] = json.loads(meta.read_text(encoding="utf-8"))
        return tuple(str(entry["title"]) for entry in content["classes"])


def _used(note: Path, titles: Sequence[str]) -> tuple[int, ...]:
    """Return the position of the class of each object."""
    problem = "is no annotation of Supervisely's, or names a class that meta.json lacks"
    with naming_damage(f"{note} {problem}"):
        content = json.loads(note.read_text(encoding="utf-8"))
        return tuple(titles.index(thing["classTitle"]) for thing in content["objects"])
