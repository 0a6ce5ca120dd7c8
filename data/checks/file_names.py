"""Every file of a split, and what is wrong with names, links and index files, without stopping at the first."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.index_files import LineReader
from encoder_ablations.data.datasets.listing import Files, list_pattern
from encoder_ablations.data.datasets.pairing import KINDS, Kind, Pair, find_pairs
from encoder_ablations.data.datasets.reading import IMAGE_SUFFIXES, LOSSY_SUFFIXES, MASK_SUFFIXES
from encoder_ablations.data.datasets.spec import DatasetSpec, Split, is_index, is_pattern
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.texts import plural

OTHER_FORMATS = frozenset(
    {".npy", ".npz", ".mat", ".heic", ".heif", ".exr", ".raw", ".dng", ".nef", ".cr2"}
)
"""Images that Pillow does not know by suffix."""


@dataclass
class Listing:
    """A split: its pairs, sorted by id, and what is wrong with names and files.

    ``pairs`` holds those of ``name-mismatch``, too, so that their content is looked at.
    """

    split: Split
    pairs: list[Pair] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def note(self, code: str, path: Path | None, detail: str) -> None:
        self.findings.append(finding(code, path, self.split, detail))


@dataclass
class _Folder:
    """Files below a folder, by stem; ``explained`` are stems without a usable file about which something was said."""

    path: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    explained: set[str] = field(default_factory=set)
    there: bool = True


def list_split(spec: DatasetSpec, split: Split) -> Listing:
    """The pairs that :func:`find_pairs` would find if everything that is wrong were removed."""
    listing = Listing(split)
    where = spec.splits[split]
    indexed = is_index(where)
    folders = [_list(spec, kind, None if indexed else where, listing) for kind in KINDS]
    images, masks = folders
    if indexed:
        wanted = _wanted(spec, where, images.files, listing)
        if wanted is None:
            return listing
        _trim(listing, images, masks, wanted)
    _pair(images, masks, listing)
    _check_names(listing)
    if not listing.pairs and not any(
        each.rule.code == "folder-missing" for each in listing.findings
    ):
        listing.note(
            "split-empty", images.path, f"no image with a mask in {images.path} and {masks.path}"
        )
    elif not any(entry.rule.severity == "error" for entry in listing.findings):
        _confirm(spec, split, listing)
    return listing


def _list(spec: DatasetSpec, kind: Kind, sub_folder: str | None, listing: Listing) -> _Folder:
    """The files of a folder or of a pattern of paths; ``sub_folder`` None = all, for index files."""
    suffixes = IMAGE_SUFFIXES if kind == "images" else MASK_SUFFIXES
    if kind == "masks" and spec.mask_format == "supervisely":
        suffixes = frozenset({".json"})
    path: str = getattr(spec, kind)
    if not is_pattern(path):
        folder = _Folder((spec.folder / path / (sub_folder or "")).resolve())
        _scan(folder, suffixes, sub_folder is None, listing)
        return folder
    folder = _Folder(spec.folder.resolve() / path.replace("{split}", sub_folder or "{split}"))
    try:
        folder.files = list_pattern(spec.folder.resolve(), path, sub_folder, suffixes, "")
    except InputError as error:
        folder.there = False
        listing.note("folder-missing", folder.path, str(error).removeprefix(": "))
    return folder


def _scan(folder: _Folder, suffixes: Collection[str], recursive: bool, listing: Listing) -> None:
    if not folder.path.is_dir():
        parent = folder.path.parent
        siblings = [path.name for path in parent.iterdir()] if parent.is_dir() else []
        folder.there = False
        listing.note(
            "folder-missing",
            folder.path,
            f"there is no such folder.{nearest(folder.path.name, siblings)}",
        )
        return
    for path, entry in _walk(folder.path, suffixes, recursive, listing):
        suffix = path.suffix.lower()
        if entry.is_symlink() and not os.path.exists(path):
            listing.note("link-broken", path, f"leads to {os.readlink(path)}")
        elif not (entry.is_file(follow_symlinks=False) or os.path.isfile(path)):
            listing.note(
                "not-a-file", path, "a folder" if path.is_dir() else "a device, socket or pipe"
            )
        elif suffix in suffixes:
            folder.files.setdefault(path.stem, []).append(path)
            continue
        elif suffixes is MASK_SUFFIXES and suffix in LOSSY_SUFFIXES:
            listing.note("mask-lossy", path, f"stored as {suffix[1:].upper()}")
        else:
            listing.note("unused-file", path, f"allowed are {', '.join(sorted(suffixes))}")
            continue
        folder.explained.add(path.stem)


def _walk(
    folder: Path, suffixes: Collection[str], recursive: bool, listing: Listing
) -> Iterator[tuple[Path, os.DirEntry[str]]]:
    """Everything in the folder that could be meant as an image, sorted; hidden things are left out.

    Entries know what they are without asking the file system again: this matters for 100,000 files.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        listing.note("unreadable", folder, f"cannot be listed: {error.strerror}")
        return
    known = Image.registered_extensions().keys() | OTHER_FORMATS | set(suffixes)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        suffix = path.suffix.lower()
        link = entry.is_symlink()
        if suffix in known or (link and not os.path.exists(path)):
            yield path, entry
        elif not (link and recursive) and os.path.isdir(path):
            if recursive:
                yield from _walk(path, suffixes, recursive, listing)
                continue
            held = sum(name.suffix.lower() in suffixes for name in path.rglob("*"))
            if held:
                listing.note("unused-folder", path, f"{plural(held, 'file')} in it")


def _wanted(spec: DatasetSpec, where: str, images: Files, listing: Listing) -> set[str] | None:
    """The ids that an index file lists; None when it cannot be used at all."""
    index = spec.folder / where
    try:
        lines = [line.strip() for line in index.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        listing.note("index-unreadable", index, f"cannot be read: {error.strerror}")
        return None
    except UnicodeDecodeError:
        listing.note("index-unreadable", index, "is not UTF-8 text")
        return None
    reader = LineReader(index, spec.folder, images)
    stems: Counter[str] = Counter()
    for line in filter(None, lines):
        try:
            stems[reader.id_in(line)] += 1
        except InputError:
            listing.note("index-escape", index, f"the line '{line}'")
    for stem, times in stems.items():
        if times > 1:
            listing.note("index-twice", index, f"'{stem}' stands there {times} times")
    if not stems:
        listing.note("index-unreadable", index, "lists no stem")
        return None
    return set(stems)


def _trim(listing: Listing, images: _Folder, masks: _Folder, wanted: set[str]) -> None:
    """Leaves only what the index file lists, and says what it lists in vain."""
    for folder in (images, masks):
        folder.files = {stem: files for stem, files in folder.files.items() if stem in wanted}
    listing.findings = [
        entry
        for entry in listing.findings
        if entry.path is None
        or entry.rule.code.startswith(("index", "folder"))
        or entry.path.stem in wanted
    ]
    if images.there and masks.there:
        for stem in sorted(
            wanted - images.files.keys() - masks.files.keys() - images.explained - masks.explained
        ):
            listing.note(
                "image-missing",
                images.path / stem,
                "listed in the index file, but there is neither image nor mask",
            )


def _pair(images: _Folder, masks: _Folder, listing: Listing) -> None:
    for folder in (images, masks):
        for stem, files in list(folder.files.items()):
            for other in files[1:]:
                listing.note("stem-twice", other, f"beside {files[0].name}")
            if len(files) > 1:
                folder.explained.add(stem)
                del folder.files[stem]
    common = images.files.keys() & masks.files.keys()
    lonely_masks = {stem: files[0] for stem, files in masks.files.items() if stem not in common}
    alike: dict[str, str] = {}
    for stem in sorted(lonely_masks):
        alike.setdefault(_plain(stem), stem)
    for stem in sorted(images.files.keys() - common):
        image = images.files[stem][0]
        twin = alike.get(_plain(stem))
        if twin in lonely_masks:
            mask = lonely_masks.pop(twin)
            listing.note("name-mismatch", image, f"its mask is called {mask.name}")
            listing.pairs.append(Pair(stem, image, mask))
        elif stem not in masks.explained and masks.there:
            longer = [
                name
                for name in lonely_masks
                if name.startswith(stem) and not name[len(stem) :][:1].isalnum()
            ]
            hint = f"; {longer[0]} is there: 'ablate init' understands such names" if longer else ""
            listing.note("mask-missing", image, f"no {stem} in {masks.path}{hint}")
    for stem, mask in sorted(lonely_masks.items()):
        if stem not in images.explained and images.there:
            listing.note("image-missing", mask, f"no image called {stem} in {images.path}")
    listing.pairs += [Pair(stem, images.files[stem][0], masks.files[stem][0]) for stem in common]
    listing.pairs.sort()


def _plain(stem: str) -> str:
    """What is left of a name when case, Unicode form and spaces around it are ignored."""
    return unicodedata.normalize("NFKC", stem).casefold().strip()


def _check_names(listing: Listing) -> None:
    seen: dict[str, str] = {}
    for pair in listing.pairs:
        if problem := name_problem(pair.id):
            listing.note("name-odd", pair.image, problem)
        other = seen.setdefault(_plain(pair.id), pair.id)
        if other != pair.id:
            listing.note("name-case", pair.image, f"beside {other}")


def name_problem(stem: str) -> str:
    """Why a stem will not survive a copy to another system; "" when it will."""
    if any("\ud800" <= letter <= "\udfff" for letter in stem):
        return "not UTF-8"
    if unicodedata.normalize("NFC", stem) != stem:
        return "letters composed of two characters (Unicode NFD), as macOS writes them"
    if stem != stem.strip() or stem.endswith("."):
        return "a space or a dot at an end"
    if re.search(r'[\x00-\x1f\x7f<>:"|?*\\]', stem):
        return 'a control character or one of < > : " | ? * \\'
    return ""


def _confirm(spec: DatasetSpec, split: Split, listing: Listing) -> None:
    """Training lists files by ``find_pairs``: whatever it refuses is an error, also what no rule here foresaw."""
    try:
        find_pairs(spec, split)
    except InputError as error:
        listing.note("split-unreadable", None, str(error))
