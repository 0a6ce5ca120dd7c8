"""Count the pixels of every class in every mask.

This one pass finds bad masks and images before any training.
"""

import hashlib
import json
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.reading import check_whole
from encoder_ablations.utils.cache_folder import cache_folder, file_state
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_bytes
from encoder_ablations.utils.progress import Bar

THREADS = 4
PROBE = 16
"""Masks by which it is decided whether threads help."""
QUICK_SECONDS = 0.0005
CACHE_VERSION = 5


@dataclass(frozen=True, eq=False)
class MaskScan:
    """What the N masks of a split hold.

    In a classification dataset an image counts as one pixel of its class.

    Attributes:
        counts: N×K int64, pixels of each class in each mask.
        ignored: N int64, pixels that count neither in a loss nor in a metric.
        digests: N×2 int64, CRC-32 of each mask's class ids, and the bytes of its image's file. In a
            classification dataset the first is 2³² · class + CRC-32 of the image's file.
        unsure: N int64, 1 where EXIF data turn an image and perhaps not its mask.
    """

    counts: np.ndarray
    ignored: np.ndarray
    digests: np.ndarray
    unsure: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """N×K bool: which classes each mask shows."""
        return self.counts > 0

    @property
    def pixels(self) -> list[int]:
        """Pixels of each class in all masks together."""
        return [int(count) for count in self.counts.sum(axis=0)]


def scan_masks(dataset: FolderDataset, progress: bool = False) -> MaskScan:
    """Read every mask once and check that every image is whole.

    Where neither files nor settings have changed the counts of the last time are returned.

    Raises:
        InputError: for the first bad mask or image, in the order of the dataset.
    """
    cache = _cache_file(dataset)
    rows = _read_cache(cache, dataset)
    if rows is None:
        rows = _scan(dataset, progress)
        _write_cache(cache, rows)
    classes = len(dataset.spec.classes)
    ignored, digests, unsure = (
        rows[:, classes],
        rows[:, classes + 1 : classes + 3],
        rows[:, classes + 3],
    )
    return MaskScan(rows[:, :classes], ignored, digests, unsure)


def _scan(dataset: FolderDataset, progress: bool) -> np.ndarray:
    title = f"checking masks of {dataset.spec.name}/{dataset.split}"
    rows = Bar(_rows(dataset), title, len(dataset), unit="mask", disable=not progress)
    return np.stack(list(rows))


def _rows(dataset: FolderDataset) -> Iterator[np.ndarray]:
    """Count in threads, unless files are so small that threads would wait for each other."""
    seconds = []
    for index in range(min(PROBE, len(dataset))):
        began = time.perf_counter()
        yield _row(dataset, index)
        seconds.append(time.perf_counter() - began)
    rest = range(len(seconds), len(dataset))
    if rest and median(seconds) < QUICK_SECONDS:
        yield from map(partial(_row, dataset), rest)
    elif rest:
        with ThreadPoolExecutor(THREADS) as pool:
            yield from pool.map(partial(_row, dataset), rest)


def _row(dataset: FolderDataset, index: int) -> np.ndarray:
    """Return pixels of each class, ignored ones, two digests, and whether it is unsure: int64."""
    mask = dataset.read_mask(index)
    unsure = [not dataset.check_mask(index, mask)]
    image = dataset.pairs[index].image
    check_whole(image)
    content = zlib.crc32(np.ascontiguousarray(mask).data)
    if dataset.spec.task == "classification":
        # the class above the 32 bits that say whether two images are the same
        content = int(mask.item()) << 32 | zlib.crc32(image.read_bytes())
    digests = [content, image.stat().st_size]
    counts = np.bincount(mask.ravel(), minlength=dataset.spec.ignore_label + 1)
    ignored = counts[dataset.spec.ignore_label :]
    return np.concatenate([counts[: len(dataset.spec.classes)], ignored, digests, unsure]).astype(
        np.int64
    )


def _cache_file(dataset: FolderDataset) -> Path:
    """Return where the scan of exactly these files with these settings is kept."""
    spec = dataset.spec
    files = [
        [str(path), file_state(path)] for pair in dataset.pairs for path in (pair.image, pair.mask)
    ]
    key = hashlib.sha256(json.dumps([CACHE_VERSION, spec.mask_rules, files]).encode()).hexdigest()
    return cache_folder("scans") / key


def _read_cache(path: Path, dataset: FolderDataset) -> np.ndarray | None:
    """Return the rows in a cache file; None when it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, payload = content[:32], content[32:]
    if hashlib.sha256(payload).digest() != checksum:
        return None
    return np.frombuffer(payload, np.int64).reshape(len(dataset), len(dataset.spec.classes) + 4)


def _write_cache(path: Path, rows: np.ndarray) -> None:
    payload = rows.tobytes()
    try:
        write_bytes(path, hashlib.sha256(payload).digest() + payload)
    except InputError:
        # the cache only saves time: without it the masks are read again next time
        return
