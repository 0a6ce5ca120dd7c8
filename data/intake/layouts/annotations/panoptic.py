"""COCO's panoptic annotations as class ids: a JSON of segments, and PNGs of their numbers.

https://cocodataset.org/#format-data, "Panoptic Segmentation":
number = R + 256·G + 256²·B, 0 = not labelled.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.reading import read_channels
from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.annotations.annotated_set import (
    AnnotatedSet,
    Files,
    area_of,
    category_names,
    read_contents,
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

    def areas(self, class_of: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """Yield the class id (-1 = unknown) and the area of each segment."""
        for _, category, area in self.segments:
            yield class_of.get(category, -1), area

    def draw(self, class_of: Mapping[int, int]) -> np.ndarray:
        """Return H×W class ids; pixels without a segment are ignored.

        The type is uint8, or uint16 where there are more than 255 classes.

        Raises:
            InputError: the PNG holds a number that the JSON lacks, or a segment has an unknown
                category.
        """
        numbers = read_channels(self.mask).astype(np.int64) @ _WEIGHTS
        ignore = ignore_label(len(class_of))
        target = {0: ignore}
        for number, category, _ in self.segments:
            if category not in class_of:
                raise InputError(
                    f"{self.mask}: segment {number} is of the category {category}, which has no "
                    "entry."
                )
            target[number] = class_of[category]
        found, places = np.unique(numbers, return_inverse=True)
        shown = found.tolist()
        unknown = sorted(set(shown) - target.keys())
        if unknown:
            raise InputError(
                f"{self.mask} shows segment {unknown[0]}, which its JSON does not name."
            )
        table = np.array([target[number] for number in shown], mask_type(ignore))
        return table[places].reshape(numbers.shape)


PanopticSet = AnnotatedSet[PanopticImage]


def read_panoptic(root: Path, files: Sequence[Path]) -> PanopticSet | None:
    """Return the content of all panoptic files below ``root``; None where there is none.

    A JSON is read if its name says "panoptic", or if a folder of its name lies beside it.

    Raises:
        InputError: one of them cannot be understood, or two disagree about a category.
    """
    contents = read_contents(filter(_may_be, files), with_segments=True)
    if not contents:
        return None
    names = category_names(contents)
    class_of = {category: number for number, category in enumerate(names)}
    result = PanopticSet(
        "COCO panoptic annotations",
        "PNGs of segment numbers, by the categories in the JSON",
        [],
        list(names.values()),
        class_of,
        remarks=["What belongs to no segment is ignored."],
    )
    places = Files(root, files)
    for path, content in contents.items():
        try:
            _add(result, path, content, places)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is no complete panoptic file: {type(error).__name__} {error}."
            ) from error
    return result


def _may_be(path: Path) -> bool:
    named = "panoptic" in path.stem.lower() or path.with_suffix("").is_dir()
    return named and path.suffix.lower() == ".json"


def _add(result: PanopticSet, path: Path, content: dict[str, Any], places: Files) -> None:
    """Add the images of one file."""
    entries = {entry["id"]: entry for entry in content["images"]}
    folders = (
        path.with_suffix(""),
        path.parent,
        path.parent / path.stem.removesuffix("_annotations"),
    )
    for note in content["annotations"]:
        name = str(note["file_name"])
        # PNGs lie in a folder called like the JSON, or beside it
        masks = [folder / Path(name).name for folder in folders]
        mask = next(filter(Path.is_file, masks), None)
        image = places.find(str(entries[note["image_id"]]["file_name"]), path.parent)
        if mask is None or image is None:
            result.missing.append(name)
            continue
        segments = tuple(
            (int(each["id"]), int(each["category_id"]), area_of(each))
            for each in note["segments_info"]
        )
        split = split_of_annotations(path, image, places.root)
        result.images.append(PanopticImage(image.stem, split, image, mask, segments))
