"""Lists the files of a dataset: below a folder, or where a pattern of paths says."""

import os
import re
from collections.abc import Collection, Iterator
from itertools import takewhile
from pathlib import Path

from encoder_ablations.utils.errors import InputError, nearest

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})
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
    found: Files = {}
    for path in _walk(folder, label, recursive):
        if path.suffix.lower() in suffixes:
            found.setdefault(path.stem, []).append(path)
    return found


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
    fixed = list(takewhile(lambda name: "{" not in name and "*" not in name, names[:-1]))
    base = root.joinpath(*fixed)
    expression = _expression("/".join(names[len(fixed) :]))
    found: Files = {}
    prefix = len(str(base)) + 1
    for path in _walk(base, label, recursive=True):
        match = expression.fullmatch(str(path)[prefix:])
        if match and path.suffix.lower() in suffixes:
            found.setdefault(match["id"], []).append(path)
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    whole_name = re.search(r"(^|/)\{id\}/", pattern)
    meanings = {
        "{id}": "(?P<id>.+)" if whole_name else "(?P<id>[^/]+)",
        "{split}": ".+?",
        "**/": "(?:[^/]+/)*",
        "*": "[^/]*?",
    }
    return re.compile(
        "".join(meanings.get(part) or re.escape(part) for part in _TOKEN.split(pattern))
    )


def _walk(folder: Path, label: str, recursive: bool) -> list[Path]:
    """Return the files in (or anywhere below) a folder, sorted; no name that begins with a dot."""
    if not folder.is_dir():
        raise _missing(folder, label)
    found: list[str] = []
    waiting = [str(folder)]
    try:
        while waiting:
            for entry in _visible(waiting.pop()):
                if entry.is_file():
                    found.append(entry.path)
                elif recursive and entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    except OSError as error:
        raise InputError(f"{label}: cannot list the folder {folder}: {error.strerror}.") from error
    return [Path(path) for path in sorted(found)]


def _visible(folder: str) -> Iterator[os.DirEntry[str]]:
    """Entries of a folder; they know what they are without asking the file system again."""
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _missing(folder: Path, label: str) -> InputError:
    """Return an error with a hint at what stands where the first missing folder should be."""
    missing = folder
    while not missing.parent.is_dir():
        missing = missing.parent
    siblings = [path.name for path in missing.parent.iterdir()]
    return InputError(f"{label}: there is no folder {folder}.{nearest(missing.name, siblings)}")
