"""Writes the set of a split, or what an interruption has left to do."""

import json
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from typing import cast

import numpy as np
from filelock import FileLock, Timeout

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.set_files import (
    THREADS,
    Entry,
    SetFiles,
    read_index,
    write_index,
)
from encoder_ablations.data.views.transforms import shrink
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import StorageError

BLOCK = 64
"""Samples that are in memory at once while a set is written."""


def write_set(
    dataset: FolderDataset,
    short_side: int | None,
    advance: Callable[[int], object] = lambda count: None,
) -> Path:
    """Write the set of a split, or what an interruption has left to do, and return its folder.

    Args:
        dataset: the split.
        short_side: images and masks are stored with a shorter side of this many pixels; None = at
            their own size.
        advance: called with the number of samples that are done.

    Raises:
        InputError: a file is damaged, or the set cannot be written.
    """
    files = SetFiles(dataset, short_side)
    folder = files.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            if _is_finished(files):
                advance(len(dataset))
                return folder
            files.index.unlink(missing_ok=True)
            write_index(files, _append_missing(files, advance))
            files.log.unlink(missing_ok=True)
    except Timeout as error:
        raise InputError(f"another process writes {folder} now; wait until it is done.") from error
    except InputError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error.strerror}. Free some space, or set XDG_CACHE_HOME."
        ) from error
    return folder


def _is_finished(files: SetFiles) -> bool:
    """Whether a current set is there, and every sample has the bytes it was written with."""
    entries = read_index(files)
    if entries is None:
        return False
    pixels = files.mapped()
    return all(files.is_whole(entry, pixels) for entry in entries)


def _append_missing(files: SetFiles, advance: Callable[[int], object]) -> list[Entry]:
    """Write what is missing, and return where all samples lie."""
    entries = _resumable(files)
    advance(len(entries))
    # a new file: processes that have mapped the old one keep it
    if not entries:
        files.pixels.unlink(missing_ok=True)
    end = max(map(files.end, entries), default=0)
    with files.pixels.open("ab") as pixels, files.log.open("w", encoding="utf-8") as log:
        pixels.truncate(end)
        log.writelines(f"{json.dumps(line)}\n" for line in (files.state, *entries))
        for sample in _decoded(files, len(entries)):
            mask = cast(np.ndarray, sample.mask)  # a FolderDataset has masks
            content = sample.image.tobytes() + mask.astype(files.kept_as).tobytes()
            height, width = sample.image.shape[:2]
            entry = Entry(end, height, width, *sample.size, zlib.crc32(content))
            pixels.write(content)
            end = files.end(entry)
            entries.append(entry)
            pixels.flush()  # before the line that vouches for it
            log.write(f"{json.dumps(entry)}\n")
            log.flush()
            advance(1)
        os.fsync(pixels.fileno())
    return entries


def _decoded(files: SetFiles, first: int) -> Iterator[Sample]:
    """Yield the samples from ``first`` on, decoded by several threads."""

    def read(index: int) -> Sample:
        return shrink(files.dataset[index], files.short_side)

    indices = range(len(files.dataset))
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(first, len(indices), BLOCK):
            yield from pool.map(read, indices[start : start + BLOCK])


def _resumable(files: SetFiles) -> list[Entry]:
    """Return the samples of an interrupted write that are whole and of the same files."""
    try:
        first, *lines = files.log.read_text(encoding="utf-8").splitlines()
        state = json.loads(first)
        pixels = files.mapped()
    except (OSError, ValueError):
        return []
    if state != files.state:
        return []

    def is_whole(entry: Entry | None) -> bool:
        return entry is not None and files.is_whole(entry, pixels)

    return cast(list[Entry], list(takewhile(is_whole, map(_entry, lines))))


def _entry(line: str) -> Entry | None:
    """Return the entry in a line; None for the line that the process was killed at."""
    try:
        return Entry(*json.loads(line))
    except (ValueError, TypeError):
        return None
