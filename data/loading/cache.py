"""Keeps decoded samples: in memory for the length of a run, or in a set on disk that "ablate cache" wrote."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample, mask_type
from encoder_ablations.data.loading.stored_set import StoredSet, open_set
from encoder_ablations.data.views.augmentation import AugmentationSpec

GIBIBYTE = 1 << 30


def for_training(
    dataset: FolderDataset, augmentation: AugmentationSpec
) -> "CachedDataset | StoredSet":
    """The dataset's samples from a set on disk that training can use, or kept in memory."""
    sizes = [augmentation.short_side, None] if augmentation.resize_first else [None]
    return open_set(dataset, sizes) or CachedDataset(dataset)


def for_evaluation(
    dataset: FolderDataset, augmentation: AugmentationSpec, *, keep: bool = False
) -> "CachedDataset | FolderDataset | StoredSet":
    """The dataset's samples from a set on disk that evaluation can use, or from their files.

    Args:
        keep: what is read from files is kept in memory, for the next evaluation.
    """
    stored = open_set(dataset, dict.fromkeys([augmentation.short_side, None]))
    return stored or (CachedDataset(dataset) if keep else dataset)


class CachedDataset:
    """A dataset whose samples are decoded once, as long as they fit into ``budget`` bytes; later ones are read again.

    Samples are equal to those of the dataset. Each worker of a loader keeps its own share of the budget.
    """

    def __init__(self, dataset: FolderDataset, budget: int = GIBIBYTE) -> None:
        self.ids = dataset.ids
        self._dataset = dataset
        self._budget = budget
        self._used = 0
        self._kept: dict[int, tuple[Sample, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        if index in self._kept:
            sample, mask = self._kept[index]
            return replace(sample, mask=mask.astype(np.int64))
        sample = self._dataset[index]
        if sample.mask is not None:
            mask = sample.mask.astype(mask_type(sample.ignore))
            worker = get_worker_info()
            if self._used + sample.image.nbytes + mask.nbytes <= self._budget // (
                worker.num_workers if worker else 1
            ):
                self._kept[index] = (replace(sample, mask=None), mask)
                self._used += sample.image.nbytes + mask.nbytes
        return sample

    def image_file(self, index: int) -> Path:
        """The file that a sample's image is read from."""
        return self._dataset.image_file(index)

    def __getstate__(self) -> dict[str, Any]:
        """What is kept stays in its process: a worker started afresh reads for itself."""
        return {**self.__dict__, "_kept": {}, "_used": 0}
