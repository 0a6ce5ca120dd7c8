"""The files of a set on disk: a split's decoded images and masks.

``pixels.bin`` holds for each sample, in the order of the dataset, the image (h×w×3 uint8) and then
the mask (h×w uint8 class ids; uint16, little-endian, where there are more than 255 classes; 1×1
where whole images have classes).
``written.jsonl`` says while the set is made how far it has come; ``index.json`` appears when it is
whole.
"""

import hashlib
import json
import logging
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.reading import image_size
from encoder_ablations.data.datasets.sample import mask_type
from encoder_ablations.utils.cache_folder import cache_folder, file_state
from encoder_ablations.utils.files import write_json

VERSION = 2
"""Raise it when reading or the first resize begin to give other pixels."""
GIB = 1 << 30
THREADS = 4

logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """Where a sample lies, its image's size there and in its file, and the CRC-32 of its bytes."""

    start: int
    height: int
    width: int
    full_height: int
    full_width: int
    checksum: int


class SetFiles:
    """Where the set of a split is kept, and how.

    Attributes:
        dataset: the split.
        short_side: images and masks are stored with a shorter side of this many pixels; None = at
            their own size.
        folder: in the user's cache folder.
        kept_as: the type of masks.
    """

    def __init__(self, dataset: FolderDataset, short_side: int | None) -> None:
        self.dataset = dataset
        self.short_side = short_side
        self.folder = set_folder(dataset, short_side)
        self.pixels = self.folder / "pixels.bin"
        self.index = self.folder / "index.json"
        self.log = self.folder / "written.jsonl"
        self.kept_as = mask_type(dataset.spec.ignore_label).newbyteorder("<")

    @cached_property
    def state(self) -> str:
        """A digest of all that the pixels depend on.

        That is the files' names, sizes and times, the size they are kept at, and what masks mean.
        """
        files = [
            [str(path), file_state(path)]
            for pair in self.dataset.pairs
            for path in (pair.image, pair.mask)
        ]
        state = json.dumps([VERSION, self.short_side, self.dataset.spec.mask_rules, files])
        return hashlib.sha256(state.encode()).hexdigest()

    def end(self, entry: Entry) -> int:
        """Return where the sample after this one begins."""
        return entry.start + self.bytes_of(entry.height, entry.width)

    def mask_shape(self, height: int, width: int) -> tuple[int, int]:
        """Return the shape of the mask of an image of this size."""
        if self.dataset.spec.task == "classification":
            return (1, 1)
        return (height, width)

    def bytes_of(self, height: int, width: int) -> int:
        """Return what an image of this size takes together with its mask."""
        rows, columns = self.mask_shape(height, width)
        return 3 * height * width + self.kept_as.itemsize * rows * columns

    def mapped(self) -> np.ndarray:
        """Return the bytes of all samples, read when they are used."""
        return np.memmap(self.pixels, np.uint8, "r").view(np.ndarray)

    def is_whole(self, entry: Entry, pixels: np.ndarray) -> bool:
        """Return whether a sample has the bytes that it was written with."""
        return zlib.crc32(pixels[entry.start : self.end(entry)].data) == entry.checksum


def set_folder(dataset: FolderDataset, short_side: int | None) -> Path:
    """Return where the set of a split is kept: in the user's cache folder."""
    spec = dataset.spec
    root = str(spec.folder.resolve()).encode("utf-8", "surrogateescape")
    place = hashlib.sha256(root).hexdigest()[:12]
    return (
        cache_folder("datasets")
        / f"{spec.name}-{place}"
        / f"{dataset.split}-{short_side or 'full'}"
    )


def planned_bytes(dataset: FolderDataset, short_side: int | None) -> int:
    """Return what a set takes on disk, from the headers of the images."""
    files = SetFiles(dataset, short_side)

    def size(path: Path) -> int:
        height, width = image_size(path, dataset.spec.upright)
        shorter = min(height, width)
        factor = (short_side or shorter) / shorter
        return files.bytes_of(round(height * factor), round(width * factor))

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(size, [pair.image for pair in dataset.pairs]))


def write_index(files: SetFiles, entries: list[Entry]) -> None:
    """Write where all samples lie, which makes the set whole."""
    content = {"state": files.state, "short_side": files.short_side, "entries": entries}
    write_json(files.index, content | {"checksum": _checksum(content)})


class _OtherData(ValueError):
    """A set is of other files or settings."""


def read_index(files: SetFiles) -> list[Entry] | None:
    """Return the entries of a finished set; None, with a warning, for one that cannot be used."""
    try:
        return _current_entries(files)
    except FileNotFoundError:
        return None
    except _OtherData:
        logger.warning(
            "the cached set %s is of other files or settings and is not used. If files have "
            "changed, 'ablate cache' writes it anew. If you chose other images or settings, give "
            "that dataset a name of its own: its set is then kept beside this one.",
            files.folder,
        )
        return None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        advice = "it is not used. 'ablate cache' writes it anew."
        logger.warning("the cached set %s is damaged (%s); %s", files.folder, error, advice)
        return None


def _current_entries(files: SetFiles) -> list[Entry]:
    """Return the entries of a finished set.

    Raises:
        ValueError: the set is damaged, or :class:`_OtherData`.
    """
    content: dict[str, Any] = json.loads(files.index.read_text(encoding="utf-8"))
    size = files.pixels.stat().st_size
    if content.pop("checksum") != _checksum(content):
        raise ValueError("index.json: checksum")
    if content["state"] != files.state:
        raise _OtherData
    entries = [Entry(*entry) for entry in content["entries"]]
    if size != files.end(entries[-1]):
        raise ValueError(f"pixels.bin has {size} bytes")
    return entries


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode())


def remove_set(dataset: FolderDataset, short_side: int | None) -> bool:
    """Delete a set, whole or not, and return whether one was there."""
    folder = set_folder(dataset, short_side)
    if not folder.is_dir():
        return False
    shutil.rmtree(folder)
    return True
