"""Splits that text files name, one image a line, as Pascal VOC's ``ImageSets/Segmentation/train.txt``."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from encoder_ablations.data.datasets.reading import IMAGE_SUFFIXES
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.folder_names import split_of
from encoder_ablations.data.intake.layouts.survey import Survey
from encoder_ablations.utils.texts import plural

MOST_MISSING = 0.1
"""Share of a list's images that may lack a mask; lists for other tasks name many more."""


def take_lists(survey: Survey, root: Path, files: Iterable[Path]) -> None:
    """Gives images the splits that lists name, where no folder names any; what no list names is left out."""
    if any(source.split for source in survey.sources):
        return
    ids = {source.id for source in survey.sources}
    best: dict[Split, tuple[Path, set[str]]] = {}
    for lists in _by_folder(files).values():
        read = {split: (path, _read(path, ids)) for split, path in lists.items()}
        if _fits(read, ids) and _size(read) > _size(best):
            best = read
    if not best:
        return
    split_of_id = {identity: split for split, (_, listed) in best.items() for identity in listed}
    survey.lists = {split: path for split, (path, _) in best.items()}
    kept = [source for source in survey.sources if source.id in split_of_id]
    dropped = [source for source in survey.sources if source.id not in split_of_id]
    survey.sources = [replace(source, split=split_of_id[source.id]) for source in kept]
    named = ", ".join(path.relative_to(root).as_posix() for path in survey.lists.values())
    survey.remarks.append(f"Splits come from {named}.")
    if dropped:
        left_out = plural(len(dropped), "image", "stands/stand in none of them and is/are left out")
        survey.remarks.append(f"{left_out}, e.g. {dropped[0].image.relative_to(root)}.")


def _by_folder(files: Iterable[Path]) -> dict[Path, dict[Split, Path]]:
    """Text files that are called like splits, by their folder."""
    found: defaultdict[Path, dict[Split, Path]] = defaultdict(dict)
    for path in sorted(files):
        split = split_of(path.stem)
        if path.suffix.lower() == ".txt" and split is not None:
            found[path.parent].setdefault(split, path)
    return {folder: lists for folder, lists in found.items() if "train" in lists}


def _read(path: Path, ids: set[str]) -> set[str]:
    """The images that a list names; whole lines where nothing in them is known."""
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


def _fits(lists: dict[Split, tuple[Path, set[str]]], ids: set[str]) -> bool:
    """Whether nearly all that is listed is there, and nothing in two splits."""
    listed = [each for _, names in lists.values() for each in names]
    missing = sum(each not in ids for each in listed)
    return (
        bool(listed) and missing <= MOST_MISSING * len(listed) and len(set(listed)) == len(listed)
    )


def _size(lists: dict[Split, tuple[Path, set[str]]]) -> tuple[int, bool]:
    """Lists of more images are better, and of equal ones those that are meant for masks."""
    in_segmentation = any("segmentation" in path.parent.name.lower() for path, _ in lists.values())
    return sum(len(names) for _, names in lists.values()), in_segmentation
