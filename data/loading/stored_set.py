"""A split's decoded images and masks in one memory-mapped file.

It is written once and read by any number of processes. ``pixels.bin`` holds for each sample, in the
order of the dataset, the image (h×w×3 uint8) and then the mask (h×w uint8 class ids; uint16,
little-endian, where there are more than 255 classes). ``written.jsonl`` says while the set is made
how far it has come; ``index.json`` appears when it is whole.
"""

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.reading import image_size
from encoder_ablations.data.datasets.sample import Sample, mask_type
from encoder_ablations.data.views.transforms import shrink
from encoder_ablations.utils.cache_folder import cache_folder
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.file_state import file_state
from encoder_ablations.utils.files import StorageError, write_json

VERSION = 2
"""Raise it when reading or the first resize begin to give other pixels."""
GIB = 1 << 30
THREADS = 4
BLOCK = 64
"""Samples that are in memory at once while a set is written."""

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """Where a sample lies, its image's size there and in its file, and the CRC-32 of its bytes."""

    start: int
    height: int
    width: int
    full_height: int
    full_width: int
    checksum: int

    def end(self, depth: int) -> int:
        """Return where the next one begins; ``depth`` as :func:`pixel_bytes` gives it."""
        return self.start + depth * self.height * self.width


def pixel_bytes(dataset: FolderDataset) -> int:
    """Return the bytes of a pixel's colour and class: 4, or 5 for more than 255 classes."""
    return 3 + mask_type(dataset.spec.ignore_label).itemsize


def set_folder(dataset: FolderDataset, short_side: int | None) -> Path:
    """Return where the set of a split is kept: in the user's cache folder."""
    spec = dataset.spec
    root = str(spec.folder.resolve()).encode("utf-8", "surrogateescape")
    place = hashlib.sha256(root).hexdigest()[:12]
    size = "full" if short_side is None else str(short_side)
    return cache_folder("datasets") / f"{spec.name}-{place}" / f"{dataset.split}-{size}"


def describe(dataset: FolderDataset, short_side: int | None) -> str:
    """Return a digest of all that the pixels depend on.

    That is the files' names, sizes and times, the size they are kept at, and what masks mean.
    """
    files = [
        [str(path), file_state(path)] for pair in dataset.pairs for path in (pair.image, pair.mask)
    ]
    state = json.dumps([VERSION, short_side, dataset.spec.mask_rules, files])
    return hashlib.sha256(state.encode()).hexdigest()


def planned_bytes(dataset: FolderDataset, short_side: int | None) -> int:
    """Return what a set takes on disk, from the headers of the images."""
    depth = pixel_bytes(dataset)

    def size(path: Path) -> int:
        height, width = image_size(path, dataset.spec.upright)
        factor = 1.0 if short_side is None else short_side / min(height, width)
        return depth * round(height * factor) * round(width * factor)

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(size, (pair.image for pair in dataset.pairs)))


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
    folder, state = set_folder(dataset, short_side), describe(dataset, short_side)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            found = _read_index(folder, state, pixel_bytes(dataset))
            if found is not None and not _damaged(folder, found, pixel_bytes(dataset)):
                advance(len(dataset))
                return folder
            (folder / "index.json").unlink(missing_ok=True)
            entries = _append_missing(folder, state, dataset, short_side, advance)
            content = {"state": state, "short_side": short_side, "entries": entries}
            write_json(folder / "index.json", content | {"checksum": _checksum(content)})
            (folder / "written.jsonl").unlink(missing_ok=True)
    except Timeout as error:
        raise InputError(f"another process writes {folder} now; wait until it is done.") from error
    except InputError:
        raise
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error.strerror}. Free some space, or set XDG_CACHE_HOME."
        ) from error
    return folder


def _append_missing(
    folder: Path,
    state: str,
    dataset: FolderDataset,
    short_side: int | None,
    advance: Callable[[int], object],
) -> list[Entry]:
    """Write what is missing, and return where all samples lie."""
    depth, kept_as = pixel_bytes(dataset), mask_type(dataset.spec.ignore_label).newbyteorder("<")
    entries = _resumable(folder, state, depth)
    advance(len(entries))
    end = entries[-1].end(depth) if entries else 0
    # a new file: processes that have mapped the old one keep it
    if not entries:
        (folder / "pixels.bin").unlink(missing_ok=True)
    with (
        (folder / "pixels.bin").open("r+b" if entries else "wb") as pixels,
        (folder / "written.jsonl").open("w", encoding="utf-8") as log,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        pixels.truncate(end)
        pixels.seek(end)
        log.write(json.dumps(state) + "\n" + "".join(json.dumps(entry) + "\n" for entry in entries))
        for first in range(len(entries), len(dataset), BLOCK):
            block = range(first, min(first + BLOCK, len(dataset)))
            for sample in pool.map(lambda index: shrink(dataset[index], short_side), block):
                assert sample.mask is not None  # a FolderDataset has masks
                content = sample.image.tobytes() + sample.mask.astype(kept_as).tobytes()
                height, width = sample.image.shape[:2]
                entry = Entry(end, height, width, *sample.size, zlib.crc32(content))
                pixels.write(content)
                end = entry.end(depth)
                entries.append(entry)
                pixels.flush()  # before the line that vouches for it
                log.write(json.dumps(entry) + "\n")
                log.flush()
                advance(1)
        os.fsync(pixels.fileno())
    return entries


def _resumable(folder: Path, state: str, depth: int) -> list[Entry]:
    """Return the samples of an interrupted write that are whole and of the same files."""
    try:
        first, *lines = (folder / "written.jsonl").read_text(encoding="utf-8").splitlines()
        if json.loads(first) != state:
            return []
        pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")
    except (OSError, ValueError):
        return []
    entries: list[Entry] = []
    for line in lines:
        try:
            entry = Entry(*json.loads(line))
        except (ValueError, TypeError):
            # the line that the process was killed at
            break
        end = entry.end(depth)
        if end > len(pixels) or zlib.crc32(pixels[entry.start : end].data) != entry.checksum:
            break
        entries.append(entry)
    return entries


def _damaged(folder: Path, entries: list[Entry], depth: int) -> bool:
    """Whether a sample of a finished set has other bytes than it was written with."""
    pixels = np.memmap(folder / "pixels.bin", np.uint8, "r")
    return any(
        zlib.crc32(pixels[entry.start : entry.end(depth)].data) != entry.checksum
        for entry in entries
    )


def _read_index(folder: Path, state: str, depth: int) -> list[Entry] | None:
    """Return the entries of a finished set; None, with a warning, for one that cannot be used."""
    advice = "it is not used. 'ablate cache' writes it anew."
    try:
        content: dict[str, Any] = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        size = (folder / "pixels.bin").stat().st_size
        if content.pop("checksum") != _checksum(content):
            raise ValueError("checksum")
        entries = [Entry(*entry) for entry in content["entries"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("the cached set %s is damaged (index.json: %s); %s", folder, error, advice)
        return None
    if content["state"] != state:
        logger.warning("the cached set %s is of other files or settings; %s", folder, advice)
        return None
    if not entries or size != entries[-1].end(depth):
        logger.warning(
            "the cached set %s is damaged (pixels.bin has %d bytes); %s", folder, size, advice
        )
        return None
    return entries


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode())


class StoredSet:
    """A dataset whose samples come from a written set.

    They are equal to those of the dataset, shrunk to ``short_side``, and read-only views of the
    file. Each is checked when a process first asks for it; a damaged one is named and read from its
    own files instead.
    """

    def __init__(
        self, dataset: FolderDataset, short_side: int | None, folder: Path, entries: list[Entry]
    ) -> None:
        self.ids = dataset.ids
        self.short_side = short_side
        self._dataset = dataset
        self._ignore = dataset.spec.ignore_label
        self._depth = pixel_bytes(dataset)
        self.folder = folder
        self._entries = entries
        self._checked = np.zeros(len(entries), np.int8)
        self._pixels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        entry, stored = self._entries[index], self._bytes(index)
        if stored is None:
            return shrink(self._dataset[index], self.short_side)
        pixels = entry.height * entry.width
        image = stored[: 3 * pixels].reshape(entry.height, entry.width, 3)
        ids = stored[3 * pixels :].view(mask_type(self._ignore).newbyteorder("<"))
        mask = ids.reshape(entry.height, entry.width).astype(np.int64)
        size = (entry.full_height, entry.full_width)
        return Sample(image, mask, self.ids[index], size, self._dataset.scenes[index], self._ignore)

    def full_mask(self, index: int) -> np.ndarray:
        """Return H×W int64 class ids at the size of the mask file."""
        return self._dataset.read_mask(index).astype(np.int64)

    def image_file(self, index: int) -> Path:
        """Return the file that a sample's image was read from."""
        return self._dataset.image_file(index)

    def _bytes(self, index: int) -> np.ndarray | None:
        if self._pixels is None:
            self._pixels = np.memmap(self.folder / "pixels.bin", np.uint8, "r").view(np.ndarray)
        entry = self._entries[index]
        stored = self._pixels[entry.start : entry.end(self._depth)]
        if not self._checked[index]:
            whole = zlib.crc32(stored.data) == entry.checksum
            self._checked[index] = 1 if whole else -1
            if not whole:
                logger.warning(
                    "the cached set %s is damaged at '%s', read from its files; "
                    "'ablate cache' writes it anew.",
                    self.folder,
                    self.ids[index],
                )
        return stored if self._checked[index] == 1 else None

    def __getstate__(self) -> dict[str, Any]:
        """The mapping stays in its process."""
        return {**self.__dict__, "_pixels": None}


def open_set(dataset: FolderDataset, short_sides: Iterable[int | None]) -> StoredSet | None:
    """Return the first whole and current set at one of these sizes; None where all lack one."""
    for short_side in short_sides:
        folder = set_folder(dataset, short_side)
        if folder.is_dir():
            entries = _read_index(folder, describe(dataset, short_side), pixel_bytes(dataset))
            if entries is not None:
                return StoredSet(dataset, short_side, folder, entries)
    return None


def remove_set(dataset: FolderDataset, short_side: int | None) -> bool:
    """Delete a set, whole or not, and return whether one was there."""
    folder = set_folder(dataset, short_side)
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True
