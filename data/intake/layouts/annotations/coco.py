"""COCO annotations (polygons or run lengths) as class ids; needs pycocotools."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.annotations.annotated_set import (
    AnnotatedSet,
    Contents,
    Files,
    area_of,
    category_names,
    read_contents,
    split_of_annotations,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.texts import plural

BACKGROUND = "background"


@dataclass(frozen=True)
class CocoImage:
    """An image of an annotation file, with its annotations.

    Attributes:
        id: the stem of the image's name.
        split: None where no name says it.
        image: where the image lies.
        size: (H, W) in pixels.
        annotations: as they stand in the file.
    """

    id: str
    split: Split | None
    image: Path
    size: tuple[int, int]
    annotations: tuple[dict[str, Any], ...]

    def areas(self, class_of: Mapping[Any, int]) -> Iterator[tuple[int, int]]:
        """Yield the class id (-1 = unknown) and the area of each object, without crowds."""
        for note in self.annotations:
            if not note.get("iscrowd"):
                yield class_of.get(note.get("category_id"), -1), area_of(note)

    def draw(self, class_of: Mapping[Any, int]) -> np.ndarray:
        """Return H×W class ids: the smallest object on top, 0 elsewhere, crowds ignored.

        The type is uint8, or uint16 where there are more than 255 classes.

        Raises:
            InputError: an annotation has no outline or an unknown category, or pycocotools is not
                installed.
        """
        ignore = ignore_label(1 + len(class_of))
        shapes = []
        for note in self.annotations:
            where = f"{self.image.name}: annotation {note.get('id')}"
            number = _class_id(note, class_of, where)
            if note.get("iscrowd"):
                number = ignore
            shapes.append((number, _inside(note.get("segmentation"), self.size, where)))
        return stack_shapes(shapes, np.zeros(self.size, mask_type(ignore)))


def read_coco(root: Path, files: Sequence[Path]) -> AnnotatedSet[CocoImage] | None:
    """Return the content of all COCO files below ``root``; None where there is none.

    Raises:
        InputError: one of them cannot be understood, or they disagree about a category.
    """
    jsons = [path for path in files if path.suffix.lower() == ".json"]
    contents = read_contents(jsons, with_segments=False)
    if not contents:
        return None
    names = _categories(contents)
    class_of = {key: number for number, key in enumerate(names, start=1)}
    result = AnnotatedSet[CocoImage](
        "COCO annotations",
        "outlines, the smaller object on top",
        [],
        [BACKGROUND, *names.values()],
        class_of,
    )
    places = Files(root, files)
    for path, content in contents.items():
        _add(result, path, content, places)
    if not result.images:
        raise InputError(
            f"none of the images that {next(iter(contents))} annotates lies below {root}."
        )
    empty = sum(not image.annotations for image in result.images)
    if empty:
        unlabelled = plural(empty, "image", "has/have no annotation: all is background")
        result.remarks.append(f"{unlabelled}.")
    return result


def _add(
    result: AnnotatedSet[CocoImage], path: Path, content: dict[str, Any], places: Files
) -> None:
    """Add the images of one file."""
    notes: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    for note in content["annotations"]:
        notes[note.get("image_id")].append(note)
    for entry in content["images"]:
        name = str(entry.get("file_name", ""))
        image = places.find(name, path.parent)
        if image is None:
            result.missing.append(name)
            continue
        size = (int(entry["height"]), int(entry["width"]))
        split = split_of_annotations(path, image, places.root)
        own = tuple(notes[entry["id"]])
        result.images.append(CocoImage(image.stem, split, image, size, own))


def _categories(contents: Contents) -> dict[int, str]:
    """Return id -> name, rising, without groups that only head others, as Roboflow writes."""
    names = category_names(contents)
    notes = chain.from_iterable(content["annotations"] for content in contents.values())
    used = {note.get("category_id") for note in notes}
    entries = chain.from_iterable(content["categories"] for content in contents.values())
    heads = {str(entry.get("supercategory", "")) for entry in entries}
    kept = {key: name for key, name in names.items() if key in used or name not in heads}
    times = Counter([*kept.values(), BACKGROUND])
    for key, name in kept.items():
        if times[name] > 1:
            kept[key] = f"{name}_{key}"
    return kept


def _class_id(note: Mapping[str, Any], class_of: Mapping[Any, int], where: str) -> int:
    category = note.get("category_id")
    if category not in class_of:
        allowed = ", ".join(map(str, sorted(class_of)))
        raise InputError(
            f'{where} is of the category {category}, which is not in "categories"; there are '
            f"{allowed}."
        )
    return class_of[category]


def stack_shapes(shapes: Iterable[tuple[int, np.ndarray]], ids: np.ndarray) -> np.ndarray:
    """Return ``ids`` with shapes drawn into it, the smallest on top.

    Args:
        shapes: a class id and H×W bool, each.
        ids: H×W.
    """
    for number, inside in sorted(shapes, key=lambda shape: -int(shape[1].sum())):
        ids[inside] = number
    return ids


def _inside(outline: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """Return H×W bool: the pixels of an object.

    Args:
        outline: polygons, or run lengths as numbers or as text.
        size: (H, W) in pixels.
        where: names the annotation in errors.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise missing("pycocotools", error) from error
    if not outline:
        raise InputError(f"{where} has only a box, no outline.")
    try:
        runs: Any
        if isinstance(outline, list):
            runs = coco_mask.merge(coco_mask.frPyObjects(outline, *size))
        elif isinstance(outline["counts"], list):
            runs = coco_mask.frPyObjects(outline, *size)
        else:
            runs = {**outline, "counts": outline["counts"].encode()}
        inside: np.ndarray = coco_mask.decode(runs).astype(bool)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{where}: its outline is damaged ({error}).") from error
    if inside.shape != size:
        raise InputError(f"{where}: its outline has another size than the image.")
    return inside
