"""Keeps decoded samples in memory: small datasets are read hundreds of times during a run."""

from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from encoder_ablations.data.folder import FolderDataset
from encoder_ablations.data.sample import Sample

GIBIBYTE = 1 << 30


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
            return Sample(sample.image, mask.astype(np.int64), sample.id, sample.size, sample.scene)
        sample = self._dataset[index]
        if sample.mask is not None:
            mask = sample.mask.astype(np.uint8)
            worker = get_worker_info()
            if self._used + sample.image.nbytes + mask.nbytes <= self._budget // (worker.num_workers if worker else 1):
                self._kept[index] = (Sample(sample.image, None, sample.id, sample.size, sample.scene), mask)
                self._used += sample.image.nbytes + mask.nbytes
        return sample

    def image_file(self, index: int) -> Path:
        """The file that a sample's image is read from."""
        return self._dataset.image_file(index)

    def __getstate__(self) -> dict[str, Any]:
        """What is kept stays in its process: a worker started afresh reads for itself."""
        return {**self.__dict__, "_kept": {}, "_used": 0}
