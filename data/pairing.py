"""Which image file and which mask file belong together."""

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from encoder_ablations.data.reading import IMAGE_SUFFIXES, LOSSY_SUFFIXES, MASK_SUFFIXES
from encoder_ablations.data.spec import DatasetSpec, Split
from encoder_ablations.utils.errors import InputError, nearest

Files = dict[str, list[Path]]


class Pair(NamedTuple):
    """An image file and its mask file; their common stem is the sample's id."""

    id: str
    image: Path
    mask: Path


def find_pairs(spec: DatasetSpec, split: Split) -> list[Pair]:
    """The files of a split, sorted by id.

    A split is a sub-folder of both folders, or a ``.txt`` file with one stem a line; the stems' files may then lie
    anywhere below the two folders.

    Raises:
        InputError: a folder is missing, a file lacks its partner, two files share a stem, or the split is empty.
    """
    label = f"dataset '{spec.name}', split '{split}'"
    if split not in spec.splits:
        raise InputError(f"dataset '{spec.name}' has no split '{split}'. It has: {', '.join(spec.splits)}.")
    if not spec.folder.is_dir():
        raise InputError(f"dataset '{spec.name}': there is no folder {spec.folder.resolve()}. {_how_found(spec)}")
    where = spec.splits[split]
    index = spec.folder / where if where.lower().endswith(".txt") else None
    image_folder, mask_folder = (
        (spec.folder / kind / ("" if index else where)).resolve() for kind in (spec.images, spec.masks)
    )
    images = _files(image_folder, IMAGE_SUFFIXES, label, recursive=index is not None)
    masks = _files(mask_folder, MASK_SUFFIXES, label, recursive=index is not None)
    if index:
        wanted = _read_index(index.resolve(), images)
    elif images:
        wanted = sorted(images.keys() | masks.keys())
    else:
        raise _empty(image_folder, label)
    source = f"listed in {where} but missing below" if index else "missing in"
    image_of = _one_each("image", wanted, images, image_folder, f"{label}: {{}} {source}")
    mask_of = _one_each("mask", wanted, masks, mask_folder, f"{label}: {{}} {source}")
    return [Pair(stem, image_of[stem], mask_of[stem]) for stem in wanted]


def _files(folder: Path, suffixes: Collection[str], label: str, recursive: bool) -> Files:
    """Files by stem; hidden ones are left out (unfinished writes, macOS's ``._`` files)."""
    found: Files = {}
    try:
        if not folder.is_dir():
            siblings = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
            raise InputError(f"{label}: there is no folder {folder}.{nearest(folder.name, siblings)}")
        for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
                found.setdefault(path.stem, []).append(path)
    except OSError as error:
        raise InputError(f"{label}: cannot list the folder {folder}: {error.strerror}.") from error
    return found


def _read_index(path: Path, images: Collection[str]) -> list[str]:
    """Sorted stems in an index file; an image's suffix may be written after its stem."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"cannot read the index file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the index file {path} is not UTF-8 text with one file stem a line.") from error
    stems = Counter(
        Path(line).stem if line not in images and Path(line).suffix.lower() in IMAGE_SUFFIXES else line
        for line in map(str.strip, lines)
        if line
    )
    if not stems:
        raise InputError(f"the index file {path} is empty; write one file stem a line.")
    (stem, times) = stems.most_common(1)[0]
    if times > 1:
        raise InputError(f"the index file {path} lists '{stem}' {times} times; keep one line.")
    return sorted(stems)


def _one_each(kind: str, wanted: list[str], found: Files, folder: Path, message: str) -> dict[str, Path]:
    missing = [stem for stem in wanted if stem not in found]
    if missing:
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        fix = "Add what is missing, or remove the partners."
        if kind == "mask" and any((folder / f"{missing[0]}{suffix}").exists() for suffix in LOSSY_SUFFIXES):
            fix = "JPEG and WebP change class ids: save masks as single-channel PNG."
        count = f"{len(missing)} {kind}{'s are' if len(missing) > 1 else ' is'}"
        raise InputError(f"{message.format(count)} {folder}: {names}. {fix}")
    for stem in wanted:
        if len(found[stem]) > 1:
            first, second = found[stem][:2]
            raise InputError(f"{message.split(':')[0]}: {first} and {second} share a stem; rename or remove one.")
    return {stem: found[stem][0] for stem in wanted}


def _empty(folder: Path, label: str) -> InputError:
    others = sorted({path.suffix or path.name for path in folder.iterdir()})[:5]
    holds = f"it holds only {', '.join(others)}" if others else "it is empty"
    return InputError(f"{label}: no image in {folder}; {holds}. Allowed: {', '.join(sorted(IMAGE_SUFFIXES))}.")


def _how_found(spec: DatasetSpec) -> str:
    """Says where the root was looked up."""
    if Path(spec.root).expanduser().is_absolute():
        return "Correct 'root' in the dataset's YAML, or put the files there."
    if "DATASETS_ROOT" in os.environ:
        return f"The root '{spec.root}' was looked up in DATASETS_ROOT={os.environ['DATASETS_ROOT']}."
    return (
        f"DATASETS_ROOT is not set, so it was looked up in ./datasets; set it to the folder that holds '{spec.root}'."
    )
