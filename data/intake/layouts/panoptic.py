"""COCO's panoptic annotations as class ids: a JSON of segments, and PNGs of their numbers.

https://cocodataset.org/#format-data, "Panoptic Segmentation": number = R + 256·G + 256²·B, 0 = not labelled.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.reading import read_channels
from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.coco import (
    add_category,
    files_by_name,
    find_image,
    has_segments,
    read_annotations,
    split_of_annotations,
)
from encoder_ablations.utils.errors import InputError

_WEIGHTS = np.array([1, 256, 65536])


@dataclass(frozen=True)
class PanopticImage:
    """An image and its PNG of segment numbers.

    Attributes:
        id: the stem of the image's name.
        split: None where no name says it.
        image: where the image lies.
        mask: where the PNG lies.
        segments: (number, category, area in pixels) of each segment.
    """

    id: str
    split: Split | None
    image: Path
    mask: Path
    segments: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class PanopticSet:
    """The content of all panoptic files of a folder.

    Attributes:
        images: annotated images that are there, with their PNG.
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

    def areas(self, image: PanopticImage) -> Iterator[tuple[int, int]]:
        """Yield the class id (-1 = unknown) and the area of each segment."""
        for _, category, area in image.segments:
            yield self.class_of.get(category, -1), area


def read_panoptic(root: Path, files: Iterable[Path]) -> PanopticSet | None:
    """Return the content of all panoptic files below ``root``; None where there is none.

    A JSON is read if its name says "panoptic", or if a folder of its name lies beside it.

    Raises:
        InputError: one of them cannot be understood, or two disagree about a category.
    """
    files = list(files)
    contents = {}
    for path in filter(_may_be, files):
        content = read_annotations(path)
        if content and has_segments(content):
            contents[path] = content
    if not contents:
        return None
    names = _categories(contents)
    keys = sorted(names)
    class_of = {category: number for number, category in enumerate(keys)}
    result = PanopticSet([], set(), [names[category] for category in keys], class_of, [])
    by_name = files_by_name(files)
    for path, content in contents.items():
        try:
            _add(result, path, content, root, by_name)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is no complete panoptic file: {type(error).__name__} {error}."
            ) from error
    return result


def _may_be(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    return "panoptic" in path.stem.lower() or path.with_suffix("").is_dir()


def _categories(contents: dict[Path, dict[str, Any]]) -> dict[int, str]:
    """Return id -> name.

    Raises:
        InputError: a name is missing or empty, or two files disagree.
    """
    names: dict[int, str] = {}
    for path, content in contents.items():
        for entry in content["categories"]:
            add_category(names, entry, path)
    return names


def _add(
    result: PanopticSet,
    path: Path,
    content: dict[str, Any],
    root: Path,
    by_name: dict[str, list[Path]],
) -> None:
    """Add the images of one file."""
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
    """Return where an annotation's PNG may lie: in a folder called like the JSON, or beside it."""
    beside = [
        path.with_suffix(""),
        path.parent,
        path.parent / path.stem.removesuffix("_annotations"),
    ]
    return [folder / Path(name).name for folder in beside]


def draw_panoptic(image: PanopticImage, class_of: dict[int, int]) -> np.ndarray:
    """Return H×W class ids; pixels without a segment are ignored.

    The type is uint8, or uint16 where there are more than 255 classes.

    Raises:
        InputError: the PNG holds a number that the JSON lacks, or a segment has an unknown
            category.
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
    shown = found.tolist()
    unknown = [number for number in shown if number not in target]
    if unknown:
        raise InputError(f"{image.mask} shows segment {unknown[0]}, which its JSON does not name.")
    table = np.array([target[number] for number in shown], mask_type(ignore))
    return table[places].reshape(numbers.shape)
