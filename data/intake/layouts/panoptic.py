"""COCO's panoptic annotations as class ids: a JSON of segments, and PNGs whose colours are their numbers.

https://cocodataset.org/#format-data, "Panoptic Segmentation": number = R + 256·G + 256²·B, 0 = not labelled.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.reading import read_channels
from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.coco import find_image, split_of_annotations
from encoder_ablations.utils.errors import InputError

_WEIGHTS = np.array([1, 256, 65536])


@dataclass(frozen=True)
class PanopticImage:
    """An image, its PNG of segment numbers, and the category and area of each number."""

    id: str
    split: Split | None
    image: Path
    mask: Path
    segments: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class PanopticSet:
    """What all panoptic files of a folder say.

    Attributes:
        folders: where the PNGs lie.
        classes: the categories in the order of their ids.
        class_of: category id -> class id.
        missing: images or PNGs that are annotated but not there.
    """

    images: list[PanopticImage]
    folders: set[Path]
    classes: list[str]
    class_of: dict[int, int]
    missing: list[str]


def read_panoptic(root: Path, files: Iterable[Path]) -> PanopticSet | None:
    """All panoptic files below ``root`` together; None where there is none.

    Read is every JSON that is called so or has a folder of its name beside it.

    Raises:
        InputError: one of them cannot be understood, or two disagree about a category.
    """
    files = list(files)
    contents = {path: content for path in files if _may_be(path) for content in _load(path)}
    if not contents:
        return None
    names = _categories(contents)
    class_of = {category: number for number, category in enumerate(sorted(names))}
    result = PanopticSet([], set(), [names[category] for category in sorted(names)], class_of, [])
    by_name: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        by_name[path.name].append(path)
    for path, content in contents.items():
        try:
            _add(result, path, content, root, by_name)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is no complete panoptic file: {type(error).__name__} {error}."
            ) from error
    return result


def _may_be(path: Path) -> bool:
    named = "panoptic" in path.stem.lower() or path.with_suffix("").is_dir()
    return path.suffix.lower() == ".json" and named


def _load(path: Path) -> list[dict[str, Any]]:
    """The content of a panoptic file in a list; an empty list for any other JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); it may be truncated.") from error
    if not isinstance(content, dict):
        return []
    notes, keys = content.get("annotations"), ("images", "categories")
    if not isinstance(notes, list) or not all(isinstance(content.get(key), list) for key in keys):
        return []
    return [content] if notes and isinstance(notes[0], dict) and "segments_info" in notes[0] else []


def _categories(contents: dict[Path, dict[str, Any]]) -> dict[int, str]:
    """Id -> name.

    Raises:
        InputError: a name is missing or empty, or two files disagree.
    """
    names: dict[int, str] = {}
    for path, content in contents.items():
        for entry in content["categories"]:
            name = str(entry.get("name") or "").strip()
            if not name or "id" not in entry:
                raise InputError(f"{path}: the category {entry.get('id')} has no name; write one.")
            if names.setdefault(int(entry["id"]), name) != name:
                raise InputError(
                    f"{path} calls category {entry['id']} '{name}', another file '{names[entry['id']]}'."
                )
    return names


def _add(
    result: PanopticSet,
    path: Path,
    content: dict[str, Any],
    root: Path,
    by_name: dict[str, list[Path]],
) -> None:
    """Adds the images of one file."""
    entries = {entry["id"]: entry for entry in content["images"]}
    for note in content["annotations"]:
        name = str(note["file_name"])
        mask = next((each for each in _places(path, name) if each.is_file()), None)
        image = find_image(str(entries[note["image_id"]]["file_name"]), path.parent, root, by_name)
        if mask is not None:
            result.folders.add(mask.parent)
        if mask is None or image is None:
            result.missing.append(name)
            continue
        segments = tuple(
            (int(each["id"]), int(each["category_id"]), int(each.get("area") or 1))
            for each in note["segments_info"]
        )
        split = split_of_annotations(path, image, root)
        result.images.append(PanopticImage(image.stem, split, image, mask, segments))


def _places(path: Path, name: str) -> list[Path]:
    """Where the PNG of an annotation may lie: in a folder called like the JSON, or beside it."""
    beside = [
        path.with_suffix(""),
        path.parent,
        path.parent / path.stem.removesuffix("_annotations"),
    ]
    return [folder / Path(name).name for folder in beside]


def draw_panoptic(image: PanopticImage, class_of: dict[int, int]) -> np.ndarray:
    """H×W class ids, uint8, or uint16 with more than 255 classes; what has no segment is ignored.

    Raises:
        InputError: the PNG holds a number that the JSON lacks, or a segment has an unknown category.
    """
    numbers = read_channels(image.mask).astype(np.int64) @ _WEIGHTS
    ignore = ignore_label(len(class_of))
    target = {0: ignore}
    for number, category, _ in image.segments:
        if category not in class_of:
            raise InputError(
                f"{image.mask}: segment {number} is of the category {category}, which has no entry."
            )
        target[number] = class_of[category]
    found, places = np.unique(numbers, return_inverse=True)
    unknown = [int(number) for number in found if int(number) not in target]
    if unknown:
        raise InputError(f"{image.mask} shows segment {unknown[0]}, which its JSON does not name.")
    table = np.array([target[int(number)] for number in found], mask_type(ignore))
    return table[places].reshape(numbers.shape)
