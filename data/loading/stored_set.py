"""A split's decoded images and masks in one memory-mapped file.

It is written once (``set_writer.py``) and read by any number of processes.
"""

import logging
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.set_files import Entry, SetFiles, read_index
from encoder_ablations.data.views.transforms import shrink

logger = logging.getLogger(__name__)


class StoredSet:
    """A dataset whose samples come from a written set.

    They are equal to those of the dataset, shrunk to ``short_side``, and read-only views of the
    file. Each is checked when a process first asks for it; a damaged one is named and read from its
    own files instead.

    Attributes:
        ids: as of the dataset.
        folder: where the set lies.
        short_side: of its samples, in pixels; None = they have the size of their files.
    """

    def __init__(self, files: SetFiles, entries: list[Entry]) -> None:
        self.ids = files.dataset.ids
        self.folder = files.folder
        self.short_side = files.short_side
        self._files = files
        self._dataset = files.dataset
        self._entries = entries
        self._whole: dict[int, bool] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        if not self._is_whole(index):
            return shrink(self._dataset[index], self.short_side)
        entry = self._entries[index]
        stored = self._pixels[entry.start : self._files.end(entry)]
        shape = (entry.height, entry.width)
        colors = 3 * entry.height * entry.width
        return Sample(
            image=stored[:colors].reshape(*shape, 3),
            mask=self._mask(stored[colors:], shape),
            id=self.ids[index],
            size=(entry.full_height, entry.full_width),
            scene=self._dataset.scenes[index],
            ignore=self._dataset.spec.ignore_label,
            image_class=self._dataset.image_class(index),
        )

    def _mask(self, stored: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        shape = self._files.mask_shape(*size)
        return stored.view(self._files.kept_as).reshape(shape)

    def full_mask(self, index: int) -> np.ndarray:
        """Return H×W int64 class ids at the size of the mask file."""
        return self._dataset.read_mask(index).astype(np.int64)

    def image_file(self, index: int) -> Path:
        """Return the file that a sample's image was read from."""
        return self._dataset.image_file(index)

    @cached_property
    def _pixels(self) -> np.ndarray:
        return self._files.mapped()

    def _is_whole(self, index: int) -> bool:
        """Whether a sample can be used; it is checked once, and a damaged one is named."""
        if index not in self._whole:
            self._whole[index] = self._files.is_whole(self._entries[index], self._pixels)
            if not self._whole[index]:
                logger.warning(
                    "the cached set %s is damaged at '%s', read from its files; "
                    "'ablate cache' writes it anew.",
                    self.folder,
                    self.ids[index],
                )
        return self._whole[index]

    def __getstate__(self) -> dict[str, Any]:
        """The mapping stays in its process."""
        state = dict(self.__dict__)
        state.pop("_pixels", None)
        return state


def open_set(dataset: FolderDataset, short_sides: Iterable[int | None]) -> StoredSet | None:
    """Return the first whole and current set at one of these sizes; None where all lack one."""
    for short_side in short_sides:
        files = SetFiles(dataset, short_side)
        entries = read_index(files)
        if entries is not None:
            return StoredSet(files, entries)
    return None
