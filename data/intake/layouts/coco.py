"""COCO annotations (polygons or run lengths) as class ids; needs pycocotools."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
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
    """An image of an annotation file, with its annotations as they stand there."""

    id: str
    split: Split | None
    image: Path
    size: tuple[int, int]
    annotations: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class CocoSet:
    """What all annotation files of a folder say.

    Attributes:
        classes: background, then the categories in the order of their ids.
        class_of: category id -> class id.
        missing: files that are annotated but not there.
    """

    images: list[CocoImage]
    classes: list[str]
    class_of: dict[int, int]
    missing: list[str]


def read_coco(root: Path, files: Iterable[Path]) -> CocoSet | None:
    """All COCO files below ``root`` together; None where there is none.

    Raises:
        InputError: one of them cannot be understood, or they disagree about a category.
    """
    files = list(files)
    contents = {
        path: content for path in files if path.suffix.lower() == ".json" for content in _load(path)
    }
    if not contents:
        return None
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        by_name[path.name].append(path)
    categories = _categories(contents)
    numbers = {category: number for number, category in enumerate(sorted(categories), start=1)}
    result = CocoSet(
        [], [BACKGROUND, *(categories[key] for key in sorted(categories))], numbers, []
    )
    for path, content in contents.items():
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
            result.images.append(
                CocoImage(image.stem, split, image, size, tuple(notes[entry["id"]]))
            )
    if not result.images:
        raise InputError(
            f"none of the images that {next(iter(contents))} annotates lies below {root}."
        )
    return result


def _load(path: Path) -> list[dict[str, Any]]:
    """The content of a COCO file in a list; an empty list for any other JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); it may be truncated.") from error
    keys = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in keys):
        return []
    if any("segments_info" in note for note in content["annotations"][:1]):
        return []  # panoptic.py reads it
    return [content]


def _categories(contents: dict[Path, dict[str, Any]]) -> dict[int, str]:
    """Id -> name; groups that only head other categories (Roboflow writes one) are left out."""
    names: dict[int, str] = {}
    heads = set()
    for path, content in contents.items():
        for entry in content["categories"]:
            key, name = int(entry["id"]), str(entry.get("name") or "").strip()
            if not name:
                raise InputError(
                    f"{path}, categories: the category {key} has an empty name; give it one."
                )
            if names.setdefault(key, name) != name:
                raise InputError(
                    f"{path} calls category {key} '{name}', another file calls it '{names[key]}'."
                )
            heads.add(str(entry.get("supercategory", "")))
    used = {
        note.get("category_id") for content in contents.values() for note in content["annotations"]
    }
    kept = {key: name for key, name in names.items() if key in used or name not in heads}
    twice = {
        name for name in kept.values() if list(kept.values()).count(name) > 1 or name == BACKGROUND
    }
    return {key: f"{name}_{key}" if name in twice else name for key, name in kept.items()}


def find_image(name: str, folder: Path, root: Path, by_name: dict[str, list[Path]]) -> Path | None:
    """Where an image lies; a name that leads out of ``root`` is as good as missing."""
    for candidate in (folder / name, root / name, root / "images" / name):
        if candidate.is_file() and candidate.resolve().is_relative_to(root.resolve()):
            return candidate
    same = by_name.get(Path(name).name, [])
    return same[0] if len(same) == 1 else None


def split_of_annotations(annotations: Path, image: Path, root: Path) -> Split | None:
    """The split that the name of the annotation file says, or a folder above the image."""
    for text in (
        annotations.stem,
        *reversed(image.relative_to(root).parts[:-1] if image.is_relative_to(root) else ()),
    ):
        for word in re.split(r"[^a-z]+", text.lower()):
            if split_of(word) is not None:
                return split_of(word)
    return None


def draw_coco(image: CocoImage, class_of: dict[int, int]) -> np.ndarray:
    """H×W class ids: the smallest object on top, 0 where there is none; crowds are ignored.

    uint8, or uint16 where there are more than 255 classes.

    Raises:
        InputError: an annotation has no outline or an unknown category, or pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise missing("pycocotools", error) from error
    height, width = image.size
    ignore = ignore_label(1 + len(class_of))
    shapes = []
    for note in image.annotations:
        outline = note.get("segmentation")
        if note.get("category_id") not in class_of:
            raise InputError(
                f"{image.image.name}: annotation {note.get('id')} is of the category {note.get('category_id')}, which "
                f'is not in "categories"; there are {", ".join(map(str, sorted(class_of)))}.'
            )
        if not outline:
            raise InputError(
                f"{image.image.name}: annotation {note.get('id')} has only a box, no outline."
            )
        try:
            runs: Any
            if isinstance(outline, list):
                runs = coco_mask.merge(coco_mask.frPyObjects(outline, height, width))
            elif isinstance(outline["counts"], list):
                runs = coco_mask.frPyObjects(outline, height, width)
            else:
                runs = {**outline, "counts": outline["counts"].encode()}
            inside = coco_mask.decode(runs).astype(bool)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            text = f"{image.image.name}: the outline of annotation {note.get('id')} is damaged ({error})."
            raise InputError(text) from error
        if inside.shape != (height, width):
            raise InputError(
                f"{image.image.name}: the outline of annotation {note.get('id')} has another size."
            )
        target = ignore if note.get("iscrowd") else class_of[note["category_id"]]
        shapes.append((int(inside.sum()), target, inside))
    ids = np.zeros((height, width), mask_type(ignore))
    for _, target, inside in sorted(shapes, key=lambda shape: -shape[0]):
        ids[inside] = target
    return ids
