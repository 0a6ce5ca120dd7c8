"""Recognises a folder for each class, and writes the YAML of the classification dataset."""

import re
from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.intake.layouts.folder_names import IMAGE_WORDS, MASK_WORDS, split_of
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_text
from encoder_ablations.utils.texts import plural
from encoder_ablations.utils.yaml_text import one_line

LISTS: dict[Split, str] = {
    "train": "splits/train_images.txt",
    "val": "splits/val_images.txt",
    "test": "splits/test_images.txt",
}
"""What ``ablate split`` writes."""


@dataclass(frozen=True)
class ClassFolders:
    """A recognised dataset.

    Attributes:
        spec: the dataset.
        layout: what was recognised, in words.
        advice: the next command; {} stands for the YAML.
    """

    spec: DatasetSpec
    layout: str
    advice: str


def find_class_folders(root: Path, name: str = "") -> ClassFolders | None:
    """Return the dataset in a folder that holds one for each class; None for any other.

    The folders of classes lie below one for each split, or side by side. They hold images alone,
    and none of them is called like images or masks. Folders of pairs are looked for before.

    Args:
        root: the folder.
        name: of the dataset; empty for the folder's name.
    """
    root = root.absolute()
    name = name or re.sub(r"[^A-Za-z0-9_.-]+", "_", root.name).strip("_.-") or "my_data"
    splits: dict[Split, str] = {}
    for folder in _folders(root):
        split = split_of(folder.name.lower())
        if split is not None:
            splits[split] = folder.name
    if {"train", "val"} <= set(splits):
        found = [_classes_in(root / splits[split]) for split in sorted(splits)]
        if not all(found):
            return None
        classes = sorted(set().union(*found))
        layout = f"a folder for each of {plural(len(classes), 'class')} in {', '.join(splits)}"
        return ClassFolders(_spec(root, name, classes, splits), layout, "ablate lint {}")
    classes = sorted(_classes_in(root))
    if splits or not classes:
        return None
    layout = f"a folder for each of {plural(len(classes), 'class')}, without splits"
    return ClassFolders(_spec(root, name, classes, LISTS), layout, "ablate split {}")


def write_class_folders(folder: Path, name: str, output: Path | None) -> str | None:
    """Write the YAML of a folder for each class.

    Args:
        folder: that holds the classes, or the splits.
        name: of the dataset; empty for the folder's name.
        output: the YAML; None = NAME.yaml.

    Returns:
        What was recognised and what to do next; None for any other folder.

    Raises:
        InputError: the YAML exists already, or cannot be written.
    """
    found = find_class_folders(folder, name)
    if found is None:
        return None
    target = output or Path(f"{found.spec.name}.yaml")
    if target.exists():
        raise InputError(f"{target} exists already. Choose another --output, or remove it.")
    write_text(target, classes_yaml(found))
    following = found.advice.format(target)
    return f"recognised: {found.layout}\ndataset: {target}\nnext: {following}"


def classes_yaml(found: ClassFolders) -> str:
    """Return the dataset's YAML."""
    spec = found.spec
    splits = {split: spec.splits[split] for split in LISTS if split in spec.splits}
    lines = [
        f"# {spec.name}: written by  ablate init",
        f"# Recognised: {found.layout}.",
        f"name: {spec.name}",
        "task: classification",
        f"root: {one_line(spec.root)}",
        f"images: {spec.images}",
        "# names of the folders, in id order: 0, 1, 2, …",
        "classes:",
        *(f"  - {one_line(name)}" for name in spec.classes),
        "# sub-folders, or lists; 'test' is reported on if there is one, else 'val'",
        f"splits: {one_line(splits)}",
    ]
    return "\n".join(lines) + "\n"


def _spec(root: Path, name: str, classes: list[str], splits: dict[Split, str]) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        task="classification",
        root=str(root),
        images=".",
        classes=tuple(classes),
        splits=splits,
    )


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]


def _classes_in(folder: Path) -> set[str]:
    """Return the names of class folders; none where something else lies there, too."""
    folders = _folders(folder)
    if len(folders) < 2 or _images(folder):
        return set()
    for each in folders:
        spoken = each.name.lower() in IMAGE_WORDS | MASK_WORDS
        if spoken or _folders(each) or not _images(each):
            return set()
    return {each.name for each in folders}
