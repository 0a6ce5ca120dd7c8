"""What lies in a folder of images or masks: usable files, and what is wrong with the others."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from encoder_ablations.data.checks.facts import Notes
from encoder_ablations.data.datasets.listing import (
    LOSSY_SUFFIXES,
    MASK_SUFFIXES,
    Files,
    list_pattern,
    require_folder,
)
from encoder_ablations.data.datasets.pairing import Kind, place, suffixes_of
from encoder_ablations.data.datasets.spec import DatasetSpec, is_pattern
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

OTHER_FORMATS = frozenset(
    {".npy", ".npz", ".mat", ".heic", ".heif", ".exr", ".raw", ".dng", ".nef", ".cr2"}
)
"""Images that Pillow does not know by suffix."""


@dataclass
class Folder:
    """Files below a folder, by stem.

    Attributes:
        explained: stems without a usable file about which there is a finding.
        there: whether the folder exists.
    """

    path: Path
    files: Files = field(default_factory=dict)
    explained: set[str] = field(default_factory=set)
    there: bool = True

    def explains(self, stem: str) -> bool:
        """Return whether a finding already says why there is no usable file of this stem."""
        return stem in self.explained or not self.there


def scan_folder(spec: DatasetSpec, kind: Kind, sub_folder: str | None, notes: Notes) -> Folder:
    """List the files of a folder or of a pattern of paths, and note what cannot be used.

    Args:
        spec: the dataset.
        kind: images or masks.
        sub_folder: the split; None = all files, for index files.
        notes: get the findings.
    """
    suffixes = suffixes_of(spec, kind)
    folder = Folder(place(spec, kind, sub_folder))
    path: str = getattr(spec, kind)
    try:
        if is_pattern(path):
            root = spec.folder.resolve()
            folder.files = list_pattern(root, path, sub_folder, suffixes, "")
        else:
            require_folder(folder.path, "")
            _sort_files(folder, suffixes, sub_folder is None, notes)
    except InputError as error:
        folder.there = False
        notes.note("folder-missing", folder.path, str(error).removeprefix(": "))
    return folder


def _sort_files(folder: Folder, suffixes: frozenset[str], recursive: bool, notes: Notes) -> None:
    """Sort what lies in a folder into usable files and findings."""
    for entry in _walk(folder.path, suffixes, recursive, notes):
        path = Path(entry.path)
        code, detail = _unusable(entry, suffixes)
        notes.note(code, path, detail, when=code != "")
        if code == "":
            folder.files.setdefault(path.stem, []).append(path)
        elif code != "unused-file":
            folder.explained.add(path.stem)


def _unusable(entry: os.DirEntry[str], suffixes: frozenset[str]) -> tuple[str, str]:
    """Return the rule that an entry breaks, with a detail; "" for a usable file."""
    suffix = _suffix(entry)
    if _leads_nowhere(entry):
        return "link-broken", f"leads to {os.readlink(entry.path)}"
    if entry.is_dir():
        return "not-a-file", "a folder"
    if not entry.is_file():
        return "not-a-file", "a device, socket or pipe"
    if suffix in suffixes:
        return "", ""
    if suffixes is MASK_SUFFIXES and suffix in LOSSY_SUFFIXES:
        return "mask-lossy", f"stored as {suffix[1:].upper()}"
    return "unused-file", f"allowed are {', '.join(sorted(suffixes))}"


def _suffix(entry: os.DirEntry[str]) -> str:
    return Path(entry.name).suffix.lower()


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def _walk(
    folder: Path, suffixes: frozenset[str], recursive: bool, notes: Notes
) -> Iterator[os.DirEntry[str]]:
    """Yield what could be meant as an image, sorted, and note folders that are not searched."""
    known = Image.registered_extensions().keys() | OTHER_FORMATS | suffixes
    for entry in _entries(folder, notes):
        if _suffix(entry) in known or _leads_nowhere(entry):
            yield entry
        elif not recursive:
            _note_unused(Path(entry.path), suffixes, notes)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), suffixes, recursive, notes)


def _entries(folder: Path, notes: Notes) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, sorted; hidden things are left out.

    Entries know what they are without asking the file system again, which matters for 100,000
    files.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        notes.note("unreadable", folder, f"cannot be listed: {error.strerror}")
        return []
    return [entry for entry in entries if not entry.name.startswith(".")]


def _note_unused(path: Path, suffixes: frozenset[str], notes: Notes) -> None:
    """Note a folder whose images are not read, because folders of a split are not searched."""
    held = sum(found.suffix.lower() in suffixes for found in path.rglob("*"))
    notes.note("unused-folder", path, f"{plural(held, 'file')} in it", when=held > 0)
