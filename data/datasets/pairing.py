"""Which image file and which mask file belong together."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

from encoder_ablations.data.datasets.image_classes.files import (
    find_each,
    labels_file,
    list_images,
)
from encoder_ablations.data.datasets.index_files import read_index
from encoder_ablations.data.datasets.listing import (
    IMAGE_SUFFIXES,
    LOSSY_SUFFIXES,
    MASK_SUFFIXES,
    Files,
    list_folder,
    list_pattern,
    tell_apart,
)
from encoder_ablations.data.datasets.spec import DatasetSpec, Split, is_index, is_pattern
from encoder_ablations.utils import garbage
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural

Kind = Literal["images", "masks"]
KINDS: tuple[Kind, Kind] = ("images", "masks")


class Pair(NamedTuple):
    """An image file and its mask file; their common stem is the sample's id.

    In a classification dataset ``mask`` is the file that says the class: a CSV, or the image itself
    where the name of its folder says it.
    """

    id: str
    image: Path
    mask: Path


@garbage.paused()
def find_pairs(spec: DatasetSpec, split: Split) -> list[Pair]:
    """Return the files of a split, sorted by id.

    A split is a sub-folder of both folders, or an index file; its files may then lie anywhere
    below the two folders.

    Raises:
        InputError: a folder is missing, a file lacks its partner, two files share a stem, or the
            split is empty.
    """
    label = f"dataset '{spec.name}', split '{split}'"
    if split not in spec.splits:
        known = ", ".join(spec.splits)
        raise InputError(f"dataset '{spec.name}' has no split '{split}'. It has: {known}.")
    where = spec.splits[split]
    if spec.task == "classification":
        return _find_labelled(spec, where, label)
    if is_index(where):
        files = _Files(spec, None, label, f"listed in {where} but missing below")
        return files.paired(read_index(spec.folder / where, spec.folder, files.images))
    files = _Files(spec, where, label, "missing in")
    files.require_images()
    return files.paired(sorted(files.images.keys() | files.masks.keys()))


@garbage.paused()
def find_all_pairs(spec: DatasetSpec) -> list[Pair]:
    """Return every image below ``images`` with its mask, whatever the splits are; sorted by id.

    Raises:
        InputError: as :func:`find_pairs`.
    """
    if spec.task == "classification":
        return _find_labelled(spec, "", f"dataset '{spec.name}'")
    files = _Files(spec, None, f"dataset '{spec.name}'", "missing below")
    files.require_images()
    return files.paired(sorted(files.images))


def _find_labelled(spec: DatasetSpec, where: str, label: str) -> list[Pair]:
    """Return the images of a classification dataset, with the files that say their classes.

    An id is the image's path below the folder of its split, without the suffix: ``crater/0001``.

    Args:
        spec: the dataset.
        where: a sub-folder of ``images``, or an index file; "" = all images.
        label: begins error messages.
    """
    _require_root(spec)
    base = place(spec, "images", None)
    if is_index(where):
        images = list_images(base, label)
        wanted = read_index(spec.folder / where, spec.folder, images)
    else:
        images = list_images(base / where, label)
        wanted = sorted(images)
    labels = labels_file(spec.folder, spec.labels)
    found = find_each(images, wanted, label)
    return [Pair(identity, image, labels or image) for identity, image in found]


def place(spec: DatasetSpec, kind: Kind, sub_folder: str | None) -> Path:
    """Return the folder that is searched, or the pattern.

    Args:
        spec: the dataset.
        kind: images or masks.
        sub_folder: the split; None = all files, for index files.
    """
    path: str = getattr(spec, kind)
    if is_pattern(path):
        return spec.folder.resolve() / path.replace("{split}", sub_folder or "{split}")
    return (spec.folder / path / (sub_folder or "")).resolve()


def suffixes_of(spec: DatasetSpec, kind: Kind) -> frozenset[str]:
    """Return the suffixes that files of a kind may have."""
    if kind == "images":
        return IMAGE_SUFFIXES
    if spec.mask_format == "supervisely":
        return frozenset({".json"})
    return MASK_SUFFIXES


class _Files:
    """The image and mask files of a split, or of the whole dataset.

    Attributes:
        images: by id.
        masks: by id.
    """

    def __init__(self, spec: DatasetSpec, sub_folder: str | None, label: str, lacking: str) -> None:
        """List them.

        Args:
            spec: the dataset.
            sub_folder: the split; None = all files, for index files.
            label: begins error messages.
            lacking: says where a partner is missed, as in "missing in".

        Raises:
            InputError: a folder is missing or cannot be listed.
        """
        _require_root(spec)
        self._spec = spec
        self._sub_folder = sub_folder
        self._label = label
        self._lacking = lacking
        self.images, self.masks = tell_apart(self._listed("images"), self._listed("masks"))

    def _listed(self, kind: Kind) -> Files:
        path: str = getattr(self._spec, kind)
        suffixes = suffixes_of(self._spec, kind)
        if is_pattern(path):
            root = self._spec.folder.resolve()
            return list_pattern(root, path, self._sub_folder, suffixes, self._label)
        folder = place(self._spec, kind, self._sub_folder)
        return list_folder(folder, suffixes, self._label, recursive=self._sub_folder is None)

    def require_images(self) -> None:
        """Refuse a dataset or split without images."""
        if self.images:
            return
        folder = place(self._spec, "images", self._sub_folder)
        if is_pattern(str(folder)):
            raise InputError(
                f"{self._label}: no image fits the pattern {folder}. "
                "Correct 'images' in the dataset's YAML."
            )
        others = sorted({path.suffix or path.name for path in folder.iterdir()})[:5]
        holds = ", ".join(others) or "nothing"
        allowed = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(
            f"{self._label}: no image in {folder}, which holds {holds}. Allowed: {allowed}."
        )

    def paired(self, wanted: list[str]) -> list[Pair]:
        """Return the pairs of these ids.

        Raises:
            InputError: an image or a mask is missing, or two files share a stem.
        """
        image_of = self._one_each("images", wanted, self.images)
        mask_of = self._one_each("masks", wanted, self.masks)
        return [Pair(identity, image_of[identity], mask_of[identity]) for identity in wanted]

    def _one_each(self, kind: Kind, wanted: list[str], found: Files) -> dict[str, Path]:
        missing = [stem for stem in wanted if stem not in found]
        if missing:
            raise self._missing(kind, missing)
        chosen = {}
        for stem in wanted:
            chosen[stem], *others = found[stem]
            if others:
                raise InputError(
                    f"{self._label}: {chosen[stem]} and {others[0]} share a stem; "
                    "rename or remove one."
                )
        return chosen

    def _missing(self, kind: Kind, stems: list[str]) -> InputError:
        folder = place(self._spec, kind, self._sub_folder)
        fix = "Add what is missing, or remove the partners."
        lossy = [folder / f"{stems[0]}{suffix}" for suffix in LOSSY_SUFFIXES]
        if kind == "masks" and any(map(Path.exists, lossy)):
            fix = "JPEG and WebP change class ids: save masks as single-channel PNG."
        count = plural(len(stems), kind.removesuffix("s"), "is/are")
        names = first_names(stems)
        return InputError(f"{self._label}: {count} {self._lacking} {folder}: {names}. {fix}")


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


def _how_found(spec: DatasetSpec) -> str:
    """Return a sentence that says where the root was looked up."""
    if Path(spec.root).expanduser().is_absolute():
        return "Correct 'root' in the dataset's YAML, or put the files there."
    if "DATASETS_ROOT" in os.environ:
        return (
            f"The root '{spec.root}' was looked up in DATASETS_ROOT={os.environ['DATASETS_ROOT']}."
        )
    return (
        "DATASETS_ROOT is not set, so it was looked up in ./datasets; "
        f"set it to the folder that holds '{spec.root}'."
    )
