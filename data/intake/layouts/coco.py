"""COCO annotations (polygons or run lengths) as class ids; needs pycocotools."""

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.folder_names import split_of
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing

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


Drawn = TypeVar("Drawn")


@dataclass(frozen=True)
class AnnotatedSet(Generic[Drawn]):
    """The content of all annotation files of a folder.

    Attributes:
        images: annotated images that are there.
        classes: the categories in the order of their ids, after background if there is any.
        class_of: category id -> class id.
        missing: files that are annotated but not there.
    """

    images: list[Drawn]
    classes: list[str]
    class_of: dict[int, int]
    missing: list[str]


Contents = dict[Path, dict[str, Any]]


class Files:
    """The files of a folder, to look up those that annotations name."""

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self.root = root
        self.by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files:
            self.by_name[path.name].append(path)

    def find(self, name: str, folder: Path) -> Path | None:
        """Return an image's path; None where it is missing, or several have its name.

        Args:
            name: as annotations give it, below ``folder`` or the root.
            folder: where the annotations lie.
        """
        same = self.by_name[Path(name).name]
        bases = (folder, self.root, self.root / "images")
        places = [Path(os.path.normpath(base / name)) for base in bases]
        if len(same) == 1:
            places = same
        return next((place for place in places if place in same), None)


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
    result = AnnotatedSet[CocoImage]([], [BACKGROUND, *names.values()], class_of, [])
    places = Files(root, files)
    for path, content in contents.items():
        _add(result, path, content, places)
    if not result.images:
        raise InputError(
            f"none of the images that {next(iter(contents))} annotates lies below {root}."
        )
    return result


def read_contents(files: Iterable[Path], *, with_segments: bool) -> Contents:
    """Return the content of each JSON of annotations.

    Args:
        files: JSONs of any content.
        with_segments: whether to return panoptic ones, which have segments and not outlines.

    Raises:
        InputError: one cannot be read, or is no valid JSON.
    """
    contents = {}
    for path in files:
        content = _read(path)
        first = content.get("annotations", [])[:1]
        if content and with_segments == any("segments_info" in note for note in first):
            contents[path] = content
    return contents


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON of images, annotations and categories; empty for another one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); it may be truncated.") from error
    keys = ("images", "annotations", "categories")
    if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in keys):
        return content
    return {}


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


def category_names(contents: Contents) -> dict[int, str]:
    """Return category id -> name, rising.

    Raises:
        InputError: an id is missing, a name is empty, or two files disagree.
    """
    names: dict[int, str] = {}
    for path, content in contents.items():
        for entry in content["categories"]:
            if "id" not in entry:
                raise InputError(f"{path}, categories: {entry} has no id; give it one.")
            key = int(entry["id"])
            name = str(entry.get("name") or "").strip()
            if not name:
                raise InputError(
                    f"{path}, categories: category {key} has an empty name; give it one."
                )
            if names.setdefault(key, name) != name:
                raise InputError(
                    f"{path} calls category {key} '{name}', another file calls it '{names[key]}'."
                )
    return dict(sorted(names.items()))


def area_of(note: Mapping[str, Any]) -> int:
    """Return the area of an object or a segment in pixels; 1 where none is stated."""
    return max(1, int(note.get("area") or 1))


def split_of_annotations(annotations: Path, image: Path, root: Path) -> Split | None:
    """Return the split that the annotation file's name says, or a folder above the image."""
    folders = image.relative_to(root).parts[:-1]
    words = re.split(r"[^a-z]+", " ".join([annotations.stem, *reversed(folders)]).lower())
    return next(filter(None, map(split_of, words)), None)


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
