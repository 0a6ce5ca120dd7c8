"""Decoded samples, kept in memory during a run or in a set on disk that "ablate cache" wrote."""

from pathlib import Path
from typing import Any, cast

import numpy as np
from torch.utils.data import get_worker_info

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.set_files import GIB
from encoder_ablations.data.loading.stored_set import StoredSet, open_set
from encoder_ablations.data.views.augmentation import AugmentationSpec


def for_training(
    dataset: FolderDataset, augmentation: AugmentationSpec
) -> "CachedDataset | StoredSet":
    """Return the samples from a set on disk that training can use, or kept in memory."""
    sizes: list[int | None] = [None]
    if augmentation.resize_first:
        sizes.insert(0, augmentation.short_side)
    return open_set(dataset, sizes) or CachedDataset(dataset)


def for_evaluation(
    dataset: FolderDataset, augmentation: AugmentationSpec, *, keep: bool = False
) -> "CachedDataset | FolderDataset | StoredSet":
    """Return the samples from a set on disk that evaluation can use, or from their files.

    Args:
        dataset: the split.
        augmentation: says at which size images are evaluated.
        keep: what is read from files is kept in memory, for the next evaluation.
    """
    stored = open_set(dataset, dict.fromkeys([augmentation.short_side, None]))
    if stored is None and keep:
        return CachedDataset(dataset)
    return stored or dataset


class CachedDataset:
    """A dataset whose samples are decoded once, as long as they fit into ``budget`` bytes.

    Later ones are read again. Samples are equal to those of the dataset. Each worker of a loader
    keeps its own share of the budget.
    """

    def __init__(self, dataset: FolderDataset, budget: int = GIB) -> None:
        self.ids = dataset.ids
        self._dataset = dataset
        self._budget = budget
        self._used = 0
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        if index not in self._kept:
            return self._read(index)
        return self._kept[index]

    def _read(self, index: int) -> Sample:
        """Return a sample, and keep it if this worker's share has room for it."""
        sample = self._dataset[index]
        mask = cast(np.ndarray, sample.mask)  # a FolderDataset has masks
        workers: int = getattr(get_worker_info(), "num_workers", 1)
        needed = sample.image.nbytes + mask.nbytes
        if self._used + needed <= self._budget // workers:
            # all visits share them
            sample.image.flags.writeable = mask.flags.writeable = False
            self._kept[index] = sample
            self._used += needed
        return sample

    def image_file(self, index: int) -> Path:
        """Return the file that a sample's image is read from."""
        return self._dataset.image_file(index)

    def __getstate__(self) -> dict[str, Any]:
        """What is kept stays in its process: a worker started afresh reads for itself."""
        return {**self.__dict__, "_kept": {}, "_used": 0}
