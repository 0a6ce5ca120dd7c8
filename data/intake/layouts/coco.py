"""COCO annotations (polygons or run lengths) as class ids; needs pycocotools."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class CocoSet:
    """The content of all annotation files of a folder.

    Attributes:
        images: annotated images that are there.
        classes: background, then the categories in the order of their ids.
        class_of: category id -> class id.
        missing: files that are annotated but not there.
    """

    images: list[CocoImage]
    classes: list[str]
    class_of: dict[int, int]
    missing: list[str]

    def areas(self, image: CocoImage) -> Iterator[tuple[int, int]]:
        """Yield the class id (-1 = unknown) and the area of each object, without crowds."""
        for note in image.annotations:
            if not note.get("iscrowd"):
                category = note.get("category_id", -1)
                yield self.class_of.get(category, -1), max(1, int(note.get("area") or 1))


def read_coco(root: Path, files: Iterable[Path]) -> CocoSet | None:
    """Return the content of all COCO files below ``root``; None where there is none.

    Raises:
        InputError: one of them cannot be understood, or they disagree about a category.
    """
    files = list(files)
    contents = {}
    for path in files:
        content = read_annotations(path) if path.suffix.lower() == ".json" else {}
        # panoptic.py reads annotations that have segments
        if content and not has_segments(content):
            contents[path] = content
    if not contents:
        return None
    categories = _categories(contents)
    keys = sorted(categories)
    class_of = {key: number for number, key in enumerate(keys, start=1)}
    result = CocoSet([], [BACKGROUND, *(categories[key] for key in keys)], class_of, [])
    by_name = files_by_name(files)
    for path, content in contents.items():
        _add(result, path, content, root, by_name)
    if not result.images:
        raise InputError(
            f"none of the images that {next(iter(contents))} annotates lies below {root}."
        )
    return result


def files_by_name(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Return the files that have each name."""
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        by_name[path.name].append(path)
    return by_name


def read_annotations(path: Path) -> dict[str, Any]:
    """Return the content of a JSON of images, annotations and categories; empty for another one.

    Raises:
        InputError: it cannot be read, or is no valid JSON.
    """
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


def has_segments(content: dict[str, Any]) -> bool:
    """Return whether annotations are panoptic: segments, and not outlines of objects."""
    first = content["annotations"][:1]
    return any(isinstance(note, dict) and "segments_info" in note for note in first)


def _add(
    result: CocoSet,
    path: Path,
    content: dict[str, Any],
    root: Path,
    by_name: dict[str, list[Path]],
) -> None:
    """Add the images of one file."""
    notes: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    for note in content["annotations"]:
        notes[note.get("image_id")].append(note)
    for entry in content["images"]:
        name = str(entry.get("file_name", ""))
        image = find_image(name, path.parent, root, by_name)
        if image is None:
            result.missing.append(name)
            continue
        size = (int(entry["height"]), int(entry["width"]))
        split = split_of_annotations(path, image, root)
        own = tuple(notes[entry["id"]])
        result.images.append(CocoImage(image.stem, split, image, size, own))


def _categories(contents: dict[Path, dict[str, Any]]) -> dict[int, str]:
    """Return id -> name, without groups that only head other categories, as Roboflow writes."""
    names: dict[int, str] = {}
    heads = set()
    used = set()
    for path, content in contents.items():
        used |= {note.get("category_id") for note in content["annotations"]}
        for entry in content["categories"]:
            add_category(names, entry, path)
            heads.add(str(entry.get("supercategory", "")))
    kept = {key: name for key, name in names.items() if key in used or name not in heads}
    times = Counter([*kept.values(), BACKGROUND])
    return {key: f"{name}_{key}" if times[name] > 1 else name for key, name in kept.items()}


def add_category(names: dict[int, str], entry: dict[str, Any], path: Path) -> None:
    """Add a category's name to those by id.

    Raises:
        InputError: the id is missing, the name is empty, or another file says another name.
    """
    if "id" not in entry:
        raise InputError(f"{path}, categories: {entry} has no id; give it one.")
    key = int(entry["id"])
    name = str(entry.get("name") or "").strip()
    if not name:
        raise InputError(f"{path}, categories: category {key} has an empty name; give it one.")
    if names.setdefault(key, name) != name:
        raise InputError(
            f"{path} calls category {key} '{name}', another file calls it '{names[key]}'."
        )


def find_image(name: str, folder: Path, root: Path, by_name: dict[str, list[Path]]) -> Path | None:
    """Return where an image lies; None where it is missing or its name leads out of ``root``."""
    for candidate in (folder / name, root / name, root / "images" / name):
        if candidate.is_file() and candidate.resolve().is_relative_to(root.resolve()):
            return candidate
    same = by_name.get(Path(name).name, [])
    return same[0] if len(same) == 1 else None


def split_of_annotations(annotations: Path, image: Path, root: Path) -> Split | None:
    """Return the split that the annotation file's name says, or a folder above the image."""
    texts = [annotations.stem]
    if image.is_relative_to(root):
        texts += reversed(image.relative_to(root).parts[:-1])
    words = re.split(r"[^a-z]+", " ".join(texts).lower())
    named = (split for split in map(split_of, words) if split is not None)
    return next(named, None)


def draw_coco(image: CocoImage, class_of: dict[int, int]) -> np.ndarray:
    """Return H×W class ids: the smallest object on top, 0 elsewhere, crowds ignored.

    The type is uint8, or uint16 where there are more than 255 classes.

    Raises:
        InputError: an annotation has no outline or an unknown category, or pycocotools is not
            installed.
    """
    ignore = ignore_label(1 + len(class_of))
    shapes = []
    for note in image.annotations:
        where = f"{image.image.name}: annotation {note.get('id')}"
        category = note.get("category_id")
        if category not in class_of:
            allowed = ", ".join(map(str, sorted(class_of)))
            raise InputError(
                f'{where} is of the category {category}, which is not in "categories"; there are '
                f"{allowed}."
            )
        inside = _inside(note.get("segmentation"), image.size, where)
        shapes.append((ignore if note.get("iscrowd") else class_of[category], inside))
    return stack_shapes(shapes, np.zeros(image.size, mask_type(ignore)))


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
