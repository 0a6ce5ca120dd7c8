"""Feature maps on disk: shared by processes, checked when read, within a limited size.

One folder holds groups (an encoder, its weights, a transform); a group holds one file an image.
Files appear whole or not at all and are memory-mapped when read. The store saves time and changes
no result: what is missing, damaged or out of date is computed again.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import temporary_beside, write_json
from encoder_ablations.utils.leftovers import folder_time

GIB = 1 << 30
IN_USE_SECONDS = 600.0
"""A group that was read or written within this time is not deleted to make room for another."""
TOUCH_SECONDS = 60.0
LOCK_SECONDS = 60.0
HEADER_BYTES, MAP_BYTES = 512, 128
"""More than a file holds besides the maps, and besides the numbers of each."""

logger = logging.getLogger(__name__)


class FeatureStore:
    """A folder of groups.

    When it is full, groups that nobody has used for ten minutes are deleted, least recently used
    first. If that is not enough, new maps are not kept, and are computed whenever they are needed.
    Maps in use stay: a training run reads everything once an epoch, so a fixed part serves it
    better than the newest part.

    Args:
        folder: made when something is written.
        budget: bytes that all files together may take.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder
        self.budget = budget
        self.closed = False
        self._counted = False

    def group(self, description: Mapping[str, Any]) -> "FeatureGroup":
        """Return the group of the maps that ``description`` (plain values) determines."""
        key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:32]
        return FeatureGroup(self, self.folder / key, description)

    def write(self, path: Path, size: int, save: Callable[[Path], object]) -> bool:
        """Write a file if there is room for it; return whether it was kept.

        Several processes take turns. Once the disk cannot be written to, the store stays closed.
        Files are not synced, since reading notices a damaged one.

        Args:
            path: the file.
            size: bytes that it takes at most.
            save: writes it at the place that it is given.
        """
        if self.closed or size > self.budget:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=LOCK_SECONDS):
                used = self._used() - _size(path)
                if used + size > self.budget:
                    used -= self._make_room(used + size - self.budget, path)
                if used + size > self.budget:
                    return False
                with temporary_beside(path) as temporary:
                    save(temporary)
                (self.folder / "used").write_text(str(used + _size(path)))
                return True
        except (InputError, OSError, NotImplementedError, SafetensorError, Timeout) as error:
            logger.warning("the feature cache %s is no longer written to: %s", self.folder, error)
            self.closed = True
            return False

    def _used(self) -> int:
        """Return the bytes in use: counted when a process first writes, then kept in a file."""
        if self._counted:
            try:
                return int((self.folder / "used").read_text())
            except (OSError, ValueError):
                pass  # another process was killed while it wrote the number: counted again
        self._counted = True
        total = 0
        for path in _files(self.folder):
            if path.name.startswith(".") and ".safetensors~" in path.name:
                # written under the lock, which this process holds: so a killed one left it
                path.unlink(missing_ok=True)
            else:
                total += _size(path)
        return total

    def _make_room(self, needed: int, wanted: Path) -> int:
        """Delete idle groups until ``needed`` bytes are free; return how many were freed."""
        groups = []
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder not in wanted.parents:
                groups.append((_last_use(folder), folder))
        freed, time_here = 0, folder_time(self.folder)
        for used, folder in sorted(groups):
            if freed >= needed or time_here - used < IN_USE_SECONDS:
                break
            freed += sum(_size(path) for path in _files(folder))
            shutil.rmtree(folder, ignore_errors=True)
        return freed


class Kept(NamedTuple):
    """Memory-mapped maps on the CPU, not to be written to, and their original types."""

    maps: list[Tensor]
    dtypes: list[torch.dtype]

    def on(self, device: torch.device) -> list[Tensor]:
        """Return the maps on a device, in their original types."""
        return [
            each.to(device).to(dtype) for each, dtype in zip(self.maps, self.dtypes, strict=True)
        ]


class FeatureGroup:
    """The maps of many images by one encoder with one transform.

    Attributes:
        full: whether maps could not be kept for lack of room.
    """

    def __init__(self, store: FeatureStore, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder = folder
        self.full = False
        self._store = store
        self._description = description
        self._touched = -math.inf

    def read(self, name: str, state: str) -> "Kept | None":
        """Return the maps kept under ``name``; None if missing, damaged or of another ``state``."""
        path = self._path(name)
        try:
            with safe_open(path, "pt") as file:
                about: dict[str, str] = file.metadata() or {}
                maps = [file.get_tensor(str(index)) for index in range(len(file.keys()))]
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError) as error:
            logger.warning(
                "the cached features %s are damaged (%s); they are computed again.", path, error
            )
            return None
        dtypes, kept_state = about.get("dtypes", ""), about.get("state", "")
        if about.get("checksum") != _checksum(kept_state + dtypes, maps):
            logger.warning(
                "the cached features %s are damaged (checksum); they are computed again.", path
            )
            return None
        self._touch()
        if kept_state != state:
            return None
        return Kept(maps, [getattr(torch, name) for name in dtypes.split()])

    def write(
        self, name: str, state: str, maps: Sequence[Tensor], dtype: torch.dtype | None = None
    ) -> None:
        """Keep maps, if there is room, in place of what was kept under ``name``.

        Args:
            name: of the image and its view.
            maps: on any device.
            state: what the maps depend on beside the group, e.g. the state of the image file.
            dtype: what the values fit into exactly; None = the type that the maps have.
        """
        if self.full:
            return
        plain = [each.detach().to(dtype or each.dtype).cpu().contiguous() for each in maps]
        dtypes = " ".join(str(each.dtype).removeprefix("torch.") for each in maps)
        about = {"state": state, "dtypes": dtypes, "checksum": _checksum(state + dtypes, plain)}
        tensors = {str(index): each for index, each in enumerate(plain)}
        size = HEADER_BYTES + sum(MAP_BYTES + each.nbytes for each in plain)
        if not self._touch():
            return
        save = partial(save_file, tensors, metadata=about)
        if not self._store.write(self._path(name), size, save):
            self.full = True
            if not self._store.closed:
                logger.warning(
                    "the feature cache %s has reached its %.3g GB: the other features are computed "
                    "whenever they are needed. Raise --feature-cache-gb, or delete what is no "
                    "longer used.",
                    self._store.folder,
                    self._store.budget / GIB,
                )

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def _touch(self) -> bool:
        """Mark the group as in use; return whether its folder can be written to."""
        if time.monotonic() - self._touched < TOUCH_SECONDS:
            return True
        about = self.folder / "key.json"
        try:
            if about.exists():
                os.utime(about)
            elif not self._store.closed:
                write_json(about, self._description)
        except FileNotFoundError:
            return True  # deleted by another process at this moment; made again by the next write
        except (InputError, OSError) as error:
            logger.warning("the feature cache %s is not written to: %s", self._store.folder, error)
            self._store.closed = self.full = True
            return False
        self._touched = time.monotonic()
        return True


def _checksum(state: str, maps: Sequence[Tensor]) -> str:
    """Return the CRC-32 of everything in a file: fast, against damage, not attackers."""
    value = zlib.crc32(state.encode("utf-8", "surrogateescape"))
    for each in maps:
        value = zlib.crc32(f"{each.dtype} {tuple(each.shape)}".encode(), value)
        value = zlib.crc32(each.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of all groups, not those of the store itself."""
    return (
        path
        for path in folder.glob("**/*")
        if path.is_file() and path.name not in (".lock", "used")
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_use(folder: Path) -> float:
    """Return the Unix time; 0 for a folder without description, left by a killed process."""
    try:
        return (folder / "key.json").stat().st_mtime
    except FileNotFoundError:
        return 0.0
