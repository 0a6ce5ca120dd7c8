"""YOLO's outlines as class ids: a text file for each image, and the names of classes in a YAML.

https://docs.ultralytics.com/datasets/segment: lines of a class and of corners x y in 0..1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES
from encoder_ablations.data.datasets.reading import image_size
from encoder_ablations.data.intake.layouts.annotations.annotated_set import (
    AnnotatedSet,
    split_of_annotations,
)
from encoder_ablations.data.intake.layouts.annotations.shapes import (
    Polygon,
    ShapedImage,
    shaped_set,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

DIGITS = 2
"""Places of a corner in pixels that are read."""
LISTS = ("classes.txt", "obj.names", "classes.names")


def read_yolo(root: Path, files: Sequence[Path]) -> AnnotatedSet[ShapedImage] | None:
    """Return the images of a folder of YOLO's; None where no image has a text file of outlines.

    Images without a text file show background, as YOLO has it.

    Raises:
        InputError: a text file holds boxes or is damaged, or a class has no name.
    """
    there = set(files)
    labels = {}
    for path in files:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            labels[path] = _label_of(path, root, there)
    names = _names(files)
    if not names or not any(labels.values()):
        return None
    images = [_read(image, label, names, root) for image, label in labels.items()]
    empty = sum(label is None for label in labels.values())
    remarks = []
    if empty:
        unlabelled = plural(empty, "image", "has/have no annotation: all is background")
        remarks.append(f"{unlabelled}.")
    return shaped_set("YOLO's text files of outlines", images, names, (), remarks)


def _label_of(image: Path, root: Path, there: set[Path]) -> Path | None:
    """Return an image's text file: below ``labels`` instead of ``images``, or beside it."""
    inside = image.relative_to(root).with_suffix(".txt")
    swapped = ["labels" if part == "images" else part for part in inside.parts]
    for path in (root.joinpath(*swapped), root / inside):
        if path in there:
            return path
    return None


def _names(files: Sequence[Path]) -> list[str]:
    """Return the names in a YAML's ``names``, else in a list; [] where there is neither."""
    for path in files:
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                content = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise InputError(f"{path} is not valid YAML ({error}).") from error
            if isinstance(content, Mapping) and content.get("names"):
                return _in_order(content["names"])
    lists = [path for path in files if path.name in LISTS]
    lines = [
        line.strip()
        for path in lists[:1]
        for line in path.read_text("utf-8", errors="replace").splitlines()
    ]
    return list(filter(None, lines))


def _in_order(names: list[object] | Mapping[int, object]) -> list[str]:
    if isinstance(names, Mapping):
        return [str(names[number]) for number in sorted(names)]
    return list(map(str, names))


def _read(image: Path, label: Path | None, names: list[str], root: Path) -> ShapedImage:
    size = image_size(image)
    shapes = []
    if label is not None:
        for row, line in enumerate(
            label.read_text("utf-8", errors="replace").splitlines(), start=1
        ):
            if line.strip():
                shapes.append(_polygon(line.split(), names, size, f"{label}, row {row}"))
    split = split_of_annotations(Path(), image, root)
    return ShapedImage(image.stem, split, image, size, tuple(shapes))


def _polygon(words: list[str], names: list[str], size: tuple[int, int], where: str) -> Polygon:
    """Return the outline in a line.

    Raises:
        InputError: the line is a box, no outline, or of a class without a name.
    """
    try:
        number, corners = int(words[0]), list(map(float, words[1:]))
    except ValueError as error:
        raise InputError(f"{where} is no outline of YOLO's: class x1 y1 x2 y2 …") from error
    if len(corners) == 4:
        raise InputError(f"{where} has only a box, no outline; export segments.")
    if len(corners) < 6 or len(corners) % 2:
        raise InputError(
            f"{where} has {len(corners)} numbers; an outline has x and y, three times."
        )
    if not 0 <= number < len(names):
        raise InputError(f"{where} is of the class {number}; there are {', '.join(names)}.")
    # six digits are written: what they lose must not move a corner to the next pixel
    x = [round(each * size[1], DIGITS) for each in corners[::2]]
    y = [round(each * size[0], DIGITS) for each in corners[1::2]]
    return Polygon(names[number], tuple(zip(x, y, strict=True)))
