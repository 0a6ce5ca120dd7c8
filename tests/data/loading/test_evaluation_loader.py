"""Processes that load evaluation images live from one evaluation to the next."""

import os

import numpy as np
import pytest

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.batches import EvaluationLoader, evaluation_items
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.utils.errors import InputError


class Named:
    """Samples whose names say which process has loaded them."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index == 4:
            raise InputError("image 4 cannot be read")
        image = np.full((8, 8, 3), index, np.uint8)
        mask = np.zeros((8, 8), np.int64)
        return Sample(image=image, mask=mask, id=str(os.getpid()), size=(8, 8), scene=None)


def test_the_same_processes_load_again():
    loader = EvaluationLoader(Named(), [3, 0, 2, 1], AugmentationSpec(), workers=2)
    first, second = list(loader), list(loader)
    plain = list(evaluation_items(Named(), [3, 0, 2, 1], AugmentationSpec()))
    for items in (first, second):
        assert [item.place for item in items] == [3, 0, 2, 1]
        assert [item.image[0, 0, 0] for item in items] == [each.image[0, 0, 0] for each in plain]
    processes = [item.id for item in first]
    assert [item.id for item in second] == processes
    assert len(set(processes)) == 2
    assert str(os.getpid()) not in processes


def test_an_error_is_raised_and_the_loader_goes_on():
    loader = EvaluationLoader(Named(), [0, 4, 1], AugmentationSpec(), workers=1)
    for _ in range(2):
        with pytest.raises(InputError, match="image 4"):
            list(loader)
