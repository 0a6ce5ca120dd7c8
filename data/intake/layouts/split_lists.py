"""Splits that text files name, one image a line, as in Pascal VOC.

VOC calls them ``ImageSets/Segmentation/train.txt``, ``val.txt``, ….
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.folder_names import split_of
from encoder_ablations.data.intake.layouts.survey import Survey
from encoder_ablations.utils.texts import plural

MOST_MISSING = 0.1
"""Share of a list's images that may lack a mask; lists for other tasks name many more."""


class NamedImages(NamedTuple):
    """A list's file, and the images that it names."""

    path: Path
    names: set[str]


Lists = dict[Split, NamedImages]


def take_lists(survey: Survey, root: Path, files: Iterable[Path]) -> None:
    """Give images the splits that lists name, where no folder names any.

    Images that stand in no list are left out.
    """
    if any(source.split for source in survey.sources):
        return
    best = _best_lists(files, {source.id for source in survey.sources})
    if not best:
        return
    split_of_id = {name: split for split, found in best.items() for name in found.names}
    survey.lists = {split: found.path for split, found in best.items()}
    kept, dropped = [], []
    for source in survey.sources:
        if source.id in split_of_id:
            kept.append(replace(source, split=split_of_id[source.id]))
        else:
            dropped.append(source.image)
    survey.sources = kept
    named = ", ".join(path.relative_to(root).as_posix() for path in survey.lists.values())
    survey.remarks.append(f"Splits come from {named}.")
    if dropped:
        left_out = plural(len(dropped), "image", "stands/stand in none of them and is/are left out")
        survey.remarks.append(f"{left_out}, e.g. {dropped[0].relative_to(root)}.")


def _best_lists(files: Iterable[Path], ids: set[str]) -> Lists:
    """Return the lists of one folder that fit the images and name most; empty where none fit."""
    best: Lists = {}
    for paths in _by_folder(files).values():
        lists = {split: NamedImages(path, _read(path, ids)) for split, path in paths.items()}
        if _fits(lists, ids) and _size(lists) > _size(best):
            best = lists
    return best


def _by_folder(files: Iterable[Path]) -> dict[Path, dict[Split, Path]]:
    """Return the text files that are called like splits, by their folder."""
    found: defaultdict[Path, dict[Split, Path]] = defaultdict(dict)
    for path in sorted(files):
        split = split_of(path.stem)
        if path.suffix.lower() == ".txt" and split is not None:
            found[path.parent].setdefault(split, path)
    return {folder: lists for folder, lists in found.items() if "train" in lists}


def _read(path: Path, ids: set[str]) -> set[str]:
    """Return the images that a list names; whole lines where nothing in them is known."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return set()
    return {_id_in(line.strip(), ids) for line in lines if line.strip()}


def _id_in(line: str, ids: set[str]) -> str:
    for text in (line, line.split()[0]):
        path = PurePosixPath(text.replace("\\", "/"))
        name = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
        for candidate in (text, name):
            if candidate in ids:
                return candidate
    return line


def _fits(lists: Lists, ids: set[str]) -> bool:
    """Return whether nearly all listed images are there, and none is in two splits."""
    listed = [name for found in lists.values() for name in found.names]
    if not listed or len(set(listed)) < len(listed):
        return False
    missing = sum(name not in ids for name in listed)
    return missing <= MOST_MISSING * len(listed)


def _size(lists: Lists) -> tuple[int, bool]:
    """Return what is larger for the better lists: of more images, or meant for masks."""
    folders = [found.path.parent.name.lower() for found in lists.values()]
    in_segmentation = any("segmentation" in folder for folder in folders)
    return sum(len(found.names) for found in lists.values()), in_segmentation
