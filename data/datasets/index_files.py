"""Index files: text files that list the images of a split, one a line."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES, Files
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_text

_NO_LINE = re.compile(r"^\s|\s\Z|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|[\ud800-\udfff]")
"""What keeps a name from being read back: outer space, line breaks, bytes that are not UTF-8."""


def read_index(path: Path, root: Path, images: Files) -> list[str]:
    """Return the sorted ids that an index file lists.

    A line is an id, an image's name, or an image's path below ``root``. What follows such a word in
    the same line (a mask, a class) is not read.

    Args:
        path: the index file.
        root: the dataset's folder.
        images: all images that may be meant, by id.

    Raises:
        InputError: the file cannot be read, is empty, names an image twice, or leads out of
            ``root``.
    """
    path = path.resolve()
    lines = index_lines(path)
    if not lines:
        raise InputError(f"the index file {path} is empty; write one file stem a line.")
    reader = LineReader(path, root, images)
    ids = Counter(reader.id_in(line) for line in lines)
    (identity, times) = ids.most_common(1)[0]
    if times > 1:
        raise InputError(f"the index file {path} lists '{identity}' {times} times; keep one line.")
    return sorted(ids)


def index_lines(path: Path) -> list[str]:
    """Return the lines of an index file that are not empty, without spaces around them.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(
            f"there is no index file {path}. A path in splits is taken from the dataset's folder "
            "(root); for a file elsewhere give the whole path."
        ) from error
    except OSError as error:
        raise InputError(f"cannot read the index file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"the index file {path} is not UTF-8 text with one file stem a line."
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def write_index(path: Path, root: Path, files: Iterable[Path]) -> None:
    """Write one file a line: its path below ``root``; its whole path where a link leads elsewhere.

    Raises:
        InputError: a file's name cannot be written in a line of text.
    """
    root = root.resolve()
    lines = []
    for file in files:
        if file.is_relative_to(root):
            file = file.relative_to(root)
        line = file.as_posix()
        if _NO_LINE.search(line):
            raise InputError(
                f"the file name {line!r} cannot stand in an index file "
                "(line break, outer space, not UTF-8); rename it."
            )
        lines.append(f"{line}\n")
    write_text(path, "".join(lines))


class LineReader:
    """Finds out which image a line of an index file means."""

    def __init__(self, source: Path, root: Path, images: Files) -> None:
        self._source = source
        self._root = root.resolve()
        self._images = images

    def id_in(self, line: str) -> str:
        """Return the id that a line means; the line itself where nothing is called like that.

        Raises:
            InputError: the line leads out of the dataset's folder.
        """
        # a name may hold spaces; otherwise the first word is what counts
        for text in (line, line.replace("\\", "/"), line.split()[0].replace("\\", "/")):
            identity = self._id_of(text)
            if identity is not None:
                return identity
        if Path(line).suffix.lower() in IMAGE_SUFFIXES:
            return Path(line).stem
        return line

    def _id_of(self, text: str) -> str | None:
        """Return the id of the image that has this id, path or file name; None if none has it."""
        path = PurePosixPath(text)
        if path.is_relative_to(self._root):
            path = path.relative_to(self._root)
        for spelling in (text, str(path)):
            if spelling in self._id_at:
                return self._id_at[spelling]
        if path.is_absolute() or ".." in path.parts:
            raise InputError(
                f"the index file {self._source} leads out of the dataset's folder {self._root}: "
                f"'{text}'. Allowed are file stems, and paths below that folder."
            )
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return self._id_at.get(path.stem)
        return None

    @cached_property
    def _id_at(self) -> dict[str, str]:
        """Ids by themselves, and by the images' paths below the root."""
        start = f"{self._root}/"
        ids: dict[str, str] = {}
        for identity, files in self._images.items():
            paths = [str(file).removeprefix(start) for file in files]
            ids |= dict.fromkeys(paths, identity)
        # an id that is also the path of another image means the id
        return ids | {identity: identity for identity in self._images}
