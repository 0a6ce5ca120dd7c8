"""Every file of a split, and all that is wrong with names, links and index files."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.index_files import LineReader, index_lines
from encoder_ablations.data.datasets.listing import (
    LOSSY_SUFFIXES,
    MASK_SUFFIXES,
    Files,
    list_pattern,
)
from encoder_ablations.data.datasets.pairing import (
    KINDS,
    Kind,
    Pair,
    find_pairs,
    place,
    suffixes_of,
)
from encoder_ablations.data.datasets.spec import DatasetSpec, Split, is_index, is_pattern
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.texts import plural

OTHER_FORMATS = frozenset(
    {".npy", ".npz", ".mat", ".heic", ".heif", ".exr", ".raw", ".dng", ".nef", ".cr2"}
)
"""Images that Pillow does not know by suffix."""
UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
"""Letters that some system does not allow in names."""


@dataclass
class Listing:
    """A split: its pairs, sorted by id, and what is wrong with names and files.

    ``pairs`` holds those of ``name-mismatch``, too, so that their content is looked at.
    """

    split: Split
    pairs: list[Pair] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def note(self, code: str, path: Path | None, detail: str) -> None:
        """Add a finding."""
        self.findings.append(finding(code, path, self.split, detail))


@dataclass
class _Folder:
    """Files below a folder, by stem.

    Attributes:
        explained: stems without a usable file about which there is a finding.
        there: whether the folder exists.
    """

    path: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    explained: set[str] = field(default_factory=set)
    there: bool = True


def list_split(spec: DatasetSpec, split: Split) -> Listing:
    """Return the pairs that :func:`find_pairs` would find if everything wrong were removed."""
    listing = Listing(split)
    where = spec.splits[split]
    indexed = is_index(where)
    images, masks = (_list(spec, kind, None if indexed else where, listing) for kind in KINDS)
    if indexed:
        wanted = _wanted(spec, where, images.files, listing)
        if not wanted:
            return listing
        _trim(listing, images, masks, wanted)
    _pair(images, masks, listing)
    _check_names(listing)
    if not (images.there and masks.there):
        return listing
    if not listing.pairs:
        detail = f"no image with a mask in {images.path} and {masks.path}"
        listing.note("split-empty", images.path, detail)
    elif not any(entry.rule.severity == "error" for entry in listing.findings):
        _confirm(spec, split, listing)
    return listing


def _list(spec: DatasetSpec, kind: Kind, sub_folder: str | None, listing: Listing) -> _Folder:
    """List the files of a folder or of a pattern of paths.

    Args:
        sub_folder: the split; None = all files, for index files.
    """
    suffixes = suffixes_of(spec, kind)
    folder = _Folder(place(spec, kind, sub_folder))
    path: str = getattr(spec, kind)
    if not is_pattern(path):
        _scan(folder, suffixes, sub_folder is None, listing)
        return folder
    try:
        folder.files = list_pattern(spec.folder.resolve(), path, sub_folder, suffixes, "")
    except InputError as error:
        folder.there = False
        listing.note("folder-missing", folder.path, str(error).removeprefix(": "))
    return folder


def _scan(folder: _Folder, suffixes: frozenset[str], recursive: bool, listing: Listing) -> None:
    """Sort what lies in a folder into usable files and findings."""
    if not folder.path.is_dir():
        parent = folder.path.parent
        siblings = [path.name for path in parent.iterdir()] if parent.is_dir() else []
        folder.there = False
        hint = nearest(folder.path.name, siblings)
        listing.note("folder-missing", folder.path, f"there is no such folder.{hint}")
        return
    for entry in _walk(folder.path, suffixes, recursive, listing):
        path = Path(entry.path)
        code, detail = _unusable(entry, suffixes)
        if not code:
            folder.files.setdefault(path.stem, []).append(path)
            continue
        listing.note(code, path, detail)
        if code != "unused-file":
            folder.explained.add(path.stem)


def _unusable(entry: os.DirEntry[str], suffixes: frozenset[str]) -> tuple[str, str]:
    """Return the rule that an entry breaks, with a detail; "" for a usable file."""
    path = entry.path
    suffix = Path(path).suffix.lower()
    if _leads_nowhere(entry):
        return "link-broken", f"leads to {os.readlink(path)}"
    if not (entry.is_file(follow_symlinks=False) or os.path.isfile(path)):
        return "not-a-file", "a folder" if os.path.isdir(path) else "a device, socket or pipe"
    if suffix in suffixes:
        return "", ""
    if suffixes is MASK_SUFFIXES and suffix in LOSSY_SUFFIXES:
        return "mask-lossy", f"stored as {suffix[1:].upper()}"
    return "unused-file", f"allowed are {', '.join(sorted(suffixes))}"


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)


def _walk(
    folder: Path, suffixes: frozenset[str], recursive: bool, listing: Listing
) -> Iterator[os.DirEntry[str]]:
    """Yield what could be meant as an image, sorted; hidden things are left out.

    Entries know what they are without asking the file system again, which matters for 100,000
    files.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        listing.note("unreadable", folder, f"cannot be listed: {error.strerror}")
        return
    known = Image.registered_extensions().keys() | OTHER_FORMATS | suffixes
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if path.suffix.lower() in known or _leads_nowhere(entry):
            yield entry
        elif recursive:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(path, suffixes, recursive, listing)
        elif path.is_dir():
            held = sum(name.suffix.lower() in suffixes for name in path.rglob("*"))
            if held:
                listing.note("unused-folder", path, f"{plural(held, 'file')} in it")


def _wanted(spec: DatasetSpec, where: str, images: Files, listing: Listing) -> set[str]:
    """Return the ids that an index file lists; none where it cannot be used at all."""
    index = spec.folder / where
    try:
        lines = index_lines(index)
    except InputError as error:
        listing.note("index-unreadable", index, str(error))
        return set()
    reader = LineReader(index, spec.folder, images)
    stems: Counter[str] = Counter()
    for line in lines:
        try:
            stems[reader.id_in(line)] += 1
        except InputError:
            listing.note("index-escape", index, f"the line '{line}'")
    for stem, times in stems.items():
        if times > 1:
            listing.note("index-twice", index, f"'{stem}' stands there {times} times")
    if not stems:
        listing.note("index-unreadable", index, "lists no stem")
    return set(stems)


def _trim(listing: Listing, images: _Folder, masks: _Folder, wanted: set[str]) -> None:
    """Leave only what the index file lists, and say what it lists in vain."""
    for folder in (images, masks):
        folder.files = {stem: files for stem, files in folder.files.items() if stem in wanted}
    listing.findings = [each for each in listing.findings if _concerns(each, wanted)]
    if images.there and masks.there:
        known = images.files.keys() | masks.files.keys() | images.explained | masks.explained
        for stem in sorted(wanted - known):
            detail = "listed in the index file, but there is neither image nor mask"
            listing.note("image-missing", images.path / stem, detail)


def _concerns(found: Finding, wanted: set[str]) -> bool:
    """Whether a finding is about listed files, or about an index file or folder."""
    about_files = not found.rule.code.startswith(("index", "folder"))
    return found.path is None or not about_files or found.path.stem in wanted


def _pair(images: _Folder, masks: _Folder, listing: Listing) -> None:
    """Pair files by stem, and say which have no partner."""
    for folder in (images, masks):
        _drop_repeated(folder, listing)
    image_of, mask_of = (
        {stem: files[0] for stem, files in each.files.items()} for each in (images, masks)
    )
    for stem in image_of.keys() & mask_of.keys():
        listing.pairs.append(Pair(stem, image_of.pop(stem), mask_of.pop(stem)))
    _pair_alike(image_of, mask_of, listing)
    listing.pairs.sort()
    # what has no partner now is reported, unless the reason has been
    for stem, image in sorted(image_of.items()):
        if stem not in masks.explained and masks.there:
            detail = f"no {stem} in {masks.path}{_longer_name(stem, mask_of)}"
            listing.note("mask-missing", image, detail)
    for stem, mask in sorted(mask_of.items()):
        if stem not in images.explained and images.there:
            listing.note("image-missing", mask, f"no image called {stem} in {images.path}")


def _drop_repeated(folder: _Folder, listing: Listing) -> None:
    """Report files that share a stem, and leave them out."""
    repeated = {stem: files for stem, files in folder.files.items() if len(files) > 1}
    for stem, (first, *others) in repeated.items():
        for other in others:
            listing.note("stem-twice", other, f"beside {first.name}")
        folder.explained.add(stem)
        del folder.files[stem]


def _pair_alike(images: dict[str, Path], masks: dict[str, Path], listing: Listing) -> None:
    """Take out pairs whose names differ in case, Unicode form or spaces alone."""
    alike: dict[str, str] = {}
    for stem in sorted(masks):
        alike.setdefault(_plain(stem), stem)
    for stem in sorted(images):
        twin = alike.pop(_plain(stem), None)
        if twin is not None:
            pair = Pair(stem, images.pop(stem), masks.pop(twin))
            listing.note("name-mismatch", pair.image, f"its mask is called {pair.mask.name}")
            listing.pairs.append(pair)


def _longer_name(stem: str, masks: Iterable[str]) -> str:
    """Return a hint at a mask whose name begins like the image's, as in ``a`` and ``a_mask``."""
    for name in masks:
        rest = name.removeprefix(stem)
        if name.startswith(stem) and not rest[:1].isalnum():
            return f"; {name} is there: 'ablate init' understands such names"
    return ""


def _plain(stem: str) -> str:
    """Return a name in one case and Unicode form, without spaces around it."""
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
    """Return why a stem will not survive a copy to another system; "" when it will."""
    if any("\ud800" <= letter <= "\udfff" for letter in stem):
        return "not UTF-8"
    if unicodedata.normalize("NFC", stem) != stem:
        return "letters composed of two characters (Unicode NFD), as macOS writes them"
    if stem != stem.strip() or stem.endswith("."):
        return "a space or a dot at an end"
    if UNSAFE.search(stem):
        return 'a control character or one of < > : " | ? * \\'
    return ""


def _confirm(spec: DatasetSpec, split: Split, listing: Listing) -> None:
    """Report what training refuses although no rule here foresaw it."""
    try:
        find_pairs(spec, split)
    except InputError as error:
        listing.note("split-unreadable", None, str(error))
