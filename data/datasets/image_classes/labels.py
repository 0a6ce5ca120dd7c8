"""Reads the classes of whole images: from the names of folders, or from a CSV."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from encoder_ablations.data.datasets.image_classes.files import (
    labels_file,
    list_images,
)
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.errors import InputError, nearest

COLUMNS = ("file", "label")
"""Columns of a CSV of labels; others are not read."""


def classes_of(spec: DatasetSpec, images: Sequence[Path]) -> list[int]:
    """Return the class id of each image of a classification dataset.

    Raises:
        InputError: an image has no class, or one that the dataset does not have.
    """
    source = labels_file(spec.folder, spec.labels)
    if source is None:
        ids = {name: number for number, name in enumerate(spec.classes)}
        return [_class_of_folder(spec, ids, image) for image in images]
    label = f"dataset '{spec.name}'"
    folder = (spec.folder / spec.images).resolve()
    listed = chain.from_iterable(list_images(folder, label).values())
    return _class_of_each(images, read_labels(source, spec.classes, listed, spec.folder), source)


def classes_beside_masks(
    spec: DatasetSpec, images: Sequence[Path], listed: Iterable[Path]
) -> list[int] | None:
    """Return the class id of each whole image of a dataset with masks; None if it has none.

    Args:
        spec: the dataset.
        images: those of a split.
        listed: the images of all splits, which the CSV may name.

    Raises:
        InputError: an image has no class, or the CSV names an unknown image or class.
    """
    source = labels_file(spec.folder, spec.labels)
    if source is None or spec.image_classes is None:
        return None
    return _class_of_each(
        images, read_labels(source, spec.image_classes, listed, spec.folder), source
    )


def _class_of_each(images: Sequence[Path], known: Mapping[Path, int], source: Path) -> list[int]:
    """Return the class id of each image, by the lines of a CSV."""
    for image in images:
        if image not in known:
            raise InputError(f"{source} has no label for {image}. Add a line, or move the image.")
    return [known[image] for image in images]


def read_labels(
    source: Path, classes: Sequence[str], images: Iterable[Path], root: Path
) -> dict[Path, int]:
    """Return image -> class id, as a CSV with the columns ``file`` and ``label`` says it.

    A file is named by its path below ``root``, by its name, or by either without the suffix. A
    label is a class's name or id.

    Args:
        source: the CSV.
        classes: class names in id order.
        images: all images that may be meant.
        root: the dataset's folder.

    Raises:
        InputError: the CSV cannot be read, names a file or a class that does not exist, or gives
            one image two labels.
    """
    named = _by_name(images, root.resolve())
    ids = {str(number): number for number in range(len(classes))}
    # a name that is a number is a name
    ids |= {name: number for number, name in enumerate(classes)}
    found: dict[Path, int] = {}
    for line, (file, label) in _rows(source):
        where = f"{source}, line {line}"
        image = _one_image(file, named, where)
        if label not in ids:
            raise InputError(
                f"{where}: '{label}' is no class.{nearest(label, classes)} "
                f"The classes are {', '.join(classes)}."
            )
        if found.setdefault(image, ids[label]) != ids[label]:
            raise InputError(
                f"{where}: {image} has two classes, {classes[found[image]]} and {label}. "
                "Keep one line for each image."
            )
    return found


def _class_of_folder(spec: DatasetSpec, ids: Mapping[str, int], image: Path) -> int:
    """Return the id of the class that an image's folder is named by."""
    folder = image.parent.name
    if folder in ids:
        return ids[folder]
    raise InputError(
        f"dataset '{spec.name}': {image} lies in the folder '{folder}', which is no class."
        f"{nearest(folder, spec.classes)} The classes are {', '.join(spec.classes)}. Add it to "
        "classes in the dataset's YAML, or move the image."
    )


def _rows(source: Path) -> list[tuple[int, tuple[str, str]]]:
    """Return the file and the label of each line, with the number of the line."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lines = [(reader.line_num, row) for row in reader]
            header = list(reader.fieldnames or ())
    except OSError as error:
        raise InputError(f"cannot read the labels {source}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} is not a CSV in UTF-8: {error}.") from error
    if not set(COLUMNS) <= set(header):
        raise InputError(
            f"{source} needs a first line with the columns file and label; it has "
            f"{', '.join(header) or 'none'}."
        )
    rows = []
    for number, row in lines:
        file_name, label = ((row[column] or "").strip() for column in COLUMNS)
        rows.append((number, (file_name, label)))
    return rows


def _by_name(images: Iterable[Path], root: Path) -> dict[str, set[Path]]:
    """Return the images that each name may mean."""
    named: defaultdict[str, set[Path]] = defaultdict(set)
    for image in images:
        path = image
        if image.is_relative_to(root):
            path = image.relative_to(root)
        for each in (path, path.with_suffix(""), Path(path.name), Path(path.stem)):
            named[each.as_posix()].add(image)
    return named


def _one_image(file: str, named: dict[str, set[Path]], where: str) -> Path:
    found = named.get(file.replace("\\", "/"), set())
    if not found:
        raise InputError(
            f"{where}: there is no image '{file}'.{nearest(file, named)} "
            "Write its path below the dataset's folder, or its name."
        )
    if len(found) > 1:
        raise InputError(
            f"{where}: '{file}' may mean {' or '.join(map(str, sorted(found)[:2]))}. "
            "Write the path below the dataset's folder."
        )
    return next(iter(found))
