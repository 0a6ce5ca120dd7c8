import pickle

import numpy as np
import pytest

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.cache import CachedDataset


class Counting(FolderDataset):
    """Counts how often each sample is read from disk."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


BYTES = 24 * 32 * 4  # of one sample: three image channels and the mask


@pytest.mark.parametrize(("budget", "reads"), [(4 * BYTES, 4), (4 * BYTES - 1, 5), (0, 8)])
def test_samples_are_read_once_as_long_as_they_fit(make_dataset, budget, reads):
    dataset = Counting(make_dataset(), "train")
    cached = CachedDataset(dataset, budget)
    for _ in range(2):
        for index in range(len(cached)):
            cached[index]
    assert dataset.reads == reads


def test_cached_samples_equal_those_on_disk(make_dataset):
    dataset = FolderDataset(make_dataset(ignore_ids=[2]), "train")
    cached = CachedDataset(dataset)
    for index in [0, 1, 2, 3, 2, 1, 0]:
        expected, sample = dataset[index], cached[index]
        np.testing.assert_array_equal(sample.image, expected.image)
        np.testing.assert_array_equal(sample.mask, expected.mask)
        assert sample.mask.dtype == np.uint8
        assert (sample.id, sample.size, sample.scene) == (
            expected.id,
            expected.size,
            expected.scene,
        )


def test_a_kept_sample_cannot_be_changed(make_dataset):
    cached = CachedDataset(FolderDataset(make_dataset(), "train"))
    cached[0]
    for values in (cached[0].mask, cached[0].image):
        with pytest.raises(ValueError, match="read-only"):
            values[:] = 7


def test_kept_samples_do_not_travel(make_dataset):
    cached = CachedDataset(
        FolderDataset(make_dataset({"train": 4, "val": 1}, size=(200, 200)), "train")
    )
    small = len(pickle.dumps(cached))
    for index in range(4):
        cached[index]
    assert len(pickle.dumps(cached)) == small
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cached))[1].image, cached[1].image)
