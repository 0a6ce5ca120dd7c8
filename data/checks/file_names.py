"""Every file of a split, and all that is wrong with names, links and index files."""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from encoder_ablations.data.checks.facts import Notes, repeats
from encoder_ablations.data.checks.folder_scan import Folder, scan_folder
from encoder_ablations.data.checks.portable_names import longer_name, name_problem, plain_name
from encoder_ablations.data.checks.rules import Finding
from encoder_ablations.data.datasets.index_files import LineReader, index_lines
from encoder_ablations.data.datasets.listing import Files, tell_apart
from encoder_ablations.data.datasets.pairing import Pair, find_pairs
from encoder_ablations.data.datasets.spec import DatasetSpec, Split, is_index
from encoder_ablations.utils.errors import InputError


@dataclass
class Listing(Notes):
    """A split: its pairs, sorted by id, and what is wrong with names and files.

    ``pairs`` holds those of ``name-mismatch``, too, so that their content is looked at.
    """

    pairs: list[Pair] = field(default_factory=list)


def list_split(spec: DatasetSpec, split: Split) -> Listing:
    """Return the pairs that :func:`find_pairs` would find if everything wrong were removed."""
    listing = Listing(split)
    where = spec.splits[split]
    sub_folder = None
    if not is_index(where):
        sub_folder = where
    images = scan_folder(spec, "images", sub_folder, listing)
    masks = scan_folder(spec, "masks", sub_folder, listing)
    images.files, masks.files = tell_apart(images.files, masks.files)
    if is_index(where):
        wanted = _wanted(spec, where, images.files, listing)
        if not wanted:
            return listing
        _trim(listing, images, masks, wanted)
    _pair(images, masks, listing)
    _check_names(listing)
    if images.there and masks.there:
        _check_split(spec, images, masks, listing)
    return listing


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
        listing.note("index-twice", index, f"'{stem}' stands there {times} times", times > 1)
    listing.note("index-unreadable", index, "lists no stem", not stems)
    return set(stems)


def _trim(listing: Listing, images: Folder, masks: Folder, wanted: set[str]) -> None:
    """Leave only what the index file lists, and say what it lists in vain."""
    for folder in (images, masks):
        folder.files = {stem: folder.files[stem] for stem in folder.files.keys() & wanted}
    listing.findings = [each for each in listing.findings if _concerns(each, wanted)]
    for stem in sorted(wanted - images.files.keys() - masks.files.keys()):
        detail = "listed in the index file, but there is neither image nor mask"
        explained = images.explains(stem) or masks.explains(stem)
        listing.note("image-missing", images.path / stem, detail, not explained)


def _concerns(found: Finding, wanted: set[str]) -> bool:
    """Whether a finding is about listed files, or about an index file or folder."""
    about_files = not found.rule.code.startswith(("index", "folder"))
    return found.path is None or not about_files or found.path.stem in wanted


def _pair(images: Folder, masks: Folder, listing: Listing) -> None:
    """Pair files by stem, and say which have no partner."""
    image_of, mask_of = _distinct(images, listing), _distinct(masks, listing)
    for stem in image_of.keys() & mask_of.keys():
        listing.pairs.append(Pair(stem, image_of.pop(stem), mask_of.pop(stem)))
    _pair_alike(image_of, mask_of, listing)
    listing.pairs.sort()
    # what has no partner now is reported, unless the reason has been
    for stem, image in sorted(image_of.items()):
        detail = f"no {stem} in {masks.path}"
        if longer := longer_name(stem, sorted(mask_of)):
            detail += f"; {longer} is there: 'ablate init' understands such names"
        listing.note("mask-missing", image, detail, not masks.explains(stem))
    for stem, mask in sorted(mask_of.items()):
        detail = f"no image called {stem} in {images.path}"
        listing.note("image-missing", mask, detail, not images.explains(stem))


def _distinct(folder: Folder, listing: Listing) -> dict[str, Path]:
    """Return the files whose stem is their own; report those that share one."""
    alone: dict[str, Path] = {}
    for stem, (first, *others) in folder.files.items():
        for other in others:
            listing.note("stem-twice", other, f"beside {first.name}")
        if others:
            folder.explained.add(stem)
        else:
            alone[stem] = first
    return alone


def _pair_alike(images: dict[str, Path], masks: dict[str, Path], listing: Listing) -> None:
    """Take out pairs whose names differ in case, Unicode form or spaces alone."""
    # of masks that look alike the first one is paired, the others stay without an image
    alike = {plain_name(stem): stem for stem in sorted(masks, reverse=True)}
    for stem in sorted(images):
        twin = alike.pop(plain_name(stem), None)
        if twin is not None:
            pair = Pair(stem, images.pop(stem), masks.pop(twin))
            detail = f"its mask is called {pair.mask.name}"
            if unicodedata.normalize("NFC", stem) == unicodedata.normalize("NFC", twin):
                detail += "; one is written in Unicode NFC, the other in NFD, as macOS writes it"
            listing.note("name-mismatch", pair.image, detail)
            listing.pairs.append(pair)


def _check_names(listing: Listing) -> None:
    """Note names that other systems refuse, or take for equal."""
    for pair in listing.pairs:
        problem = name_problem(pair.id)
        listing.note("name-odd", pair.image, problem, problem != "")
    for first, pair in repeats(listing.pairs, lambda each: plain_name(each.id)):
        listing.note("name-case", pair.image, f"beside {first.id}")


def _check_split(spec: DatasetSpec, images: Folder, masks: Folder, listing: Listing) -> None:
    """Note a split without pairs, and what training refuses although no rule here foresaw it."""
    severities = {each.rule.severity for each in listing.findings}
    if not listing.pairs:
        detail = f"no image with a mask in {images.path} and {masks.path}"
        listing.note("split-empty", images.path, detail)
    elif "error" not in severities:
        try:
            find_pairs(spec, listing.split)
        except InputError as error:
            listing.note("split-unreadable", None, str(error))
