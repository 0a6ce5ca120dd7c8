"""Lists the files of a dataset: below a folder, or where a pattern of paths says."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, takewhile
from pathlib import Path

from encoder_ablations.utils.errors import InputError, nearest

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".gif"})
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".webp"})

Files = dict[str, list[Path]]
"""Files by what image and mask have in common."""

_TOKEN = re.compile(r"(\{id\}|\{split\}|\*\*/|\*)")


def list_folder(folder: Path, suffixes: Collection[str], label: str, recursive: bool) -> Files:
    """Return files by stem, without hidden ones (unfinished writes, macOS's ``._`` files).

    Args:
        folder: the folder whose files are listed.
        suffixes: the allowed ones, in lower case.
        label: begins error messages.
        recursive: whether sub-folders are searched, too.

    Raises:
        InputError: there is no such folder, or it cannot be listed.
    """
    return _by_id(_listed(folder, label, recursive), suffixes, lambda path: path.stem)


def list_pattern(
    root: Path, pattern: str, split: str | None, suffixes: Collection[str], label: str
) -> Files:
    """Return files by what ``{id}`` stands for in their paths below ``root``.

    Args:
        root: the dataset's folder.
        pattern: paths below it.
        split: what ``{split}`` stands for; None = anything, for splits that are index files.
        suffixes: the allowed ones, in lower case.
        label: begins error messages.

    Raises:
        InputError: the folder that the pattern begins with is missing or cannot be listed.
    """
    if split is not None:
        pattern = pattern.replace("{split}", split.strip("/"))
    # the walk begins at the deepest folder that the pattern names
    names = pattern.split("/")
    fixed = list(takewhile(lambda name: set(name).isdisjoint("{*"), names[:-1]))
    base = root.joinpath(*fixed)
    expression = _expression("/".join(names[len(fixed) :]))
    prefix = len(str(base)) + 1

    def identity(path: Path) -> str | None:
        match = expression.fullmatch(str(path)[prefix:])
        return match and match["id"]

    return _by_id(_listed(base, label, recursive=True), suffixes, identity)


def tell_apart(images: Files, masks: Files) -> tuple[Files, Files]:
    """Return images and masks without the files that fit both places.

    Such a file belongs to the narrower of the two places, which holds fewer files: what
    ``{split}annot/{id}.png`` finds is no image, although ``{split}/{id}.png`` finds it, too.
    """
    more_images = _count(images) - _count(masks)
    if more_images > 0:
        return _without(images, masks), masks
    if more_images < 0:
        return images, _without(masks, images)
    return images, masks


def _count(files: Files) -> int:
    return sum(map(len, files.values()))


def _without(files: Files, others: Files) -> Files:
    taken = set(chain.from_iterable(others.values()))
    kept = {name: [path for path in paths if path not in taken] for name, paths in files.items()}
    return {name: paths for name, paths in kept.items() if paths}


def _by_id(
    paths: Iterable[Path], suffixes: Collection[str], identity: Callable[[Path], str | None]
) -> Files:
    """Return the files that have an id and one of the suffixes."""
    found: Files = {}
    for path in paths:
        name = identity(path)
        if name is not None and path.suffix.lower() in suffixes:
            found.setdefault(name, []).append(path)
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    meanings = {
        "{id}": "(?P<id>[^/]+)",
        "{split}": ".+?",
        "**/": "(?:[^/]+/)*",
        "*": "[^/]*?",
    }
    # an id that is a whole name may stand for several folders
    if re.search(r"(^|/)\{id\}/", pattern):
        meanings["{id}"] = "(?P<id>.+)"
    parts = _TOKEN.split(pattern)
    return re.compile("".join(meanings.get(part, re.escape(part)) for part in parts))


def _listed(folder: Path, label: str, recursive: bool) -> list[Path]:
    """Return the files in (or anywhere below) a folder, sorted; no name that begins with a dot."""
    require_folder(folder, label)
    try:
        return list(map(Path, sorted(_walk(str(folder), recursive))))
    except OSError as error:
        raise InputError(f"{label}: cannot list the folder {folder}: {error.strerror}.") from error


def _walk(folder: str, recursive: bool) -> Iterator[str]:
    for entry in _visible(folder):
        if entry.is_file():
            yield entry.path
        elif recursive and entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, recursive)


def _visible(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder; they know what they are without another system call."""
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def require_folder(folder: Path, label: str) -> None:
    """Refuse a folder that is not there, with a hint at what stands in its place.

    Raises:
        InputError: there is no such folder.
    """
    if folder.is_dir():
        return
    missing = folder
    while not missing.parent.is_dir():
        missing = missing.parent
    siblings = [path.name for path in missing.parent.iterdir()]
    # the hint is about the first missing folder
    raise InputError(f"{label}: there is no folder {folder}.{nearest(missing.name, siblings)}")
