"""Which image file and which mask file belong together."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

from encoder_ablations.data.datasets.index_files import read_index
from encoder_ablations.data.datasets.listing import Files, list_folder, list_pattern
from encoder_ablations.data.datasets.reading import IMAGE_SUFFIXES, LOSSY_SUFFIXES, MASK_SUFFIXES
from encoder_ablations.data.datasets.spec import DatasetSpec, Split, is_index, is_pattern
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

Kind = Literal["images", "masks"]
KINDS: tuple[Kind, Kind] = ("images", "masks")


class Pair(NamedTuple):
    """An image file and its mask file; their common stem is the sample's id."""

    id: str
    image: Path
    mask: Path


def find_pairs(spec: DatasetSpec, split: Split) -> list[Pair]:
    """The files of a split, sorted by id.

    A split is a sub-folder of both folders, or an index file; its files may then lie anywhere below the two folders.

    Raises:
        InputError: a folder is missing, a file lacks its partner, two files share a stem, or the split is empty.
    """
    label = f"dataset '{spec.name}', split '{split}'"
    if split not in spec.splits:
        raise InputError(
            f"dataset '{spec.name}' has no split '{split}'. It has: {', '.join(spec.splits)}."
        )
    _require_root(spec)
    where = spec.splits[split]
    if is_index(where):
        images, masks = (_list(spec, kind, None, label) for kind in KINDS)
        wanted = read_index(spec.folder / where, spec.folder, images)
        return _paired(
            spec,
            None,
            wanted,
            (images, masks),
            f"{label}: {{}} listed in {where} but missing below",
        )
    images, masks = (_list(spec, kind, where, label) for kind in KINDS)
    if not images:
        raise _empty(_place(spec, "images", where), label)
    return _paired(
        spec,
        where,
        sorted(images.keys() | masks.keys()),
        (images, masks),
        f"{label}: {{}} missing in",
    )


def find_all_pairs(spec: DatasetSpec) -> list[Pair]:
    """Every image below ``images`` with its mask, whatever the splits are; sorted by id.

    Raises:
        InputError: as :func:`find_pairs`.
    """
    label = f"dataset '{spec.name}'"
    _require_root(spec)
    images, masks = (_list(spec, kind, None, label) for kind in KINDS)
    if not images:
        raise _empty(_place(spec, "images", None), label)
    return _paired(spec, None, sorted(images), (images, masks), f"{label}: {{}} missing below")


def _require_root(spec: DatasetSpec) -> None:
    if spec.hub is not None and not spec.is_prepared:
        raise InputError(
            f"dataset '{spec.name}' has not been copied from the Hugging Face hub yet: "
            f"'ablate lint' does it, or prepare_dataset() in Python."
        )
    if not spec.folder.is_dir():
        raise InputError(
            f"dataset '{spec.name}': there is no folder {spec.folder.resolve()}. {_how_found(spec)}"
        )


def _place(spec: DatasetSpec, kind: Kind, sub_folder: str | None) -> Path:
    """The folder that is searched, or the pattern."""
    path: str = getattr(spec, kind)
    if is_pattern(path):
        return spec.folder.resolve() / path.replace("{split}", sub_folder or "{split}")
    return (spec.folder / path / (sub_folder or "")).resolve()


def _list(spec: DatasetSpec, kind: Kind, sub_folder: str | None, label: str) -> Files:
    """
    Args:
        sub_folder: the split; None = all files, for index files.
    """
    suffixes = IMAGE_SUFFIXES if kind == "images" else MASK_SUFFIXES
    if kind == "masks" and spec.mask_format == "supervisely":
        suffixes = frozenset({".json"})
    path: str = getattr(spec, kind)
    if is_pattern(path):
        return list_pattern(spec.folder.resolve(), path, sub_folder, suffixes, label)
    return list_folder(
        _place(spec, kind, sub_folder), suffixes, label, recursive=sub_folder is None
    )


def _paired(
    spec: DatasetSpec,
    sub_folder: str | None,
    wanted: list[str],
    files: tuple[Files, Files],
    message: str,
) -> list[Pair]:
    image_of = _one_each("image", wanted, files[0], _place(spec, "images", sub_folder), message)
    mask_of = _one_each("mask", wanted, files[1], _place(spec, "masks", sub_folder), message)
    return [Pair(identity, image_of[identity], mask_of[identity]) for identity in wanted]


def _one_each(
    kind: str, wanted: list[str], found: Files, folder: Path, message: str
) -> dict[str, Path]:
    missing = [stem for stem in wanted if stem not in found]
    if missing:
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        fix = "Add what is missing, or remove the partners."
        if kind == "mask" and any(
            (folder / f"{missing[0]}{suffix}").exists() for suffix in LOSSY_SUFFIXES
        ):
            fix = "JPEG and WebP change class ids: save masks as single-channel PNG."
        count = plural(len(missing), kind, "is/are")
        raise InputError(f"{message.format(count)} {folder}: {names}. {fix}")
    for stem in wanted:
        if len(found[stem]) > 1:
            first, second = found[stem][:2]
            raise InputError(
                f"{message.split(':')[0]}: {first} and {second} share a stem; rename or remove one."
            )
    return {stem: found[stem][0] for stem in wanted}


def _empty(folder: Path, label: str) -> InputError:
    if is_pattern(str(folder)):
        return InputError(
            f"{label}: no image fits the pattern {folder}. Correct 'images' in the dataset's YAML."
        )
    others = sorted({path.suffix or path.name for path in folder.iterdir()})[:5]
    holds = f"it holds only {', '.join(others)}" if others else "it is empty"
    return InputError(
        f"{label}: no image in {folder}; {holds}. Allowed: {', '.join(sorted(IMAGE_SUFFIXES))}."
    )


def _how_found(spec: DatasetSpec) -> str:
    """Says where the root was looked up."""
    if Path(spec.root).expanduser().is_absolute():
        return "Correct 'root' in the dataset's YAML, or put the files there."
    if "DATASETS_ROOT" in os.environ:
        return (
            f"The root '{spec.root}' was looked up in DATASETS_ROOT={os.environ['DATASETS_ROOT']}."
        )
    return f"DATASETS_ROOT is not set, so it was looked up in ./datasets; set it to the folder that holds '{spec.root}'."
