import hashlib
import os
import signal
from collections.abc import Iterable

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.batches import evaluation_items, training_batches
from encoder_ablations.data.loading.cache import CachedDataset
from encoder_ablations.data.loading.items import Batch
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.utils.errors import InputError

AUGMENTATION = AugmentationSpec(crop=(32, 32))
INDICES = [0, 2, 3, 5, 6]


@pytest.fixture
def dataset(make_dataset) -> FolderDataset:
    return FolderDataset(make_dataset({"train": 8, "val": 3}, size=(40, 48)), "train")


def sha(batch: Batch) -> str:
    return hashlib.sha256(
        batch.images.numpy().tobytes() + batch.masks.numpy().tobytes()
    ).hexdigest()


def hashes(dataset, **changes) -> list[str]:
    """One per step; the micro-batches of a step are put together."""
    settings = {"seed": 1, "batch_size": 4, "steps": 6, **changes}
    return [
        sha(joined(parts)) for parts in training_batches(dataset, INDICES, AUGMENTATION, **settings)
    ]


def joined(parts: Iterable[Batch]) -> Batch:
    parts = list(parts)
    return Batch(
        torch.cat([part.images for part in parts]), torch.cat([part.masks for part in parts])
    )


def test_batches_have_the_promised_form(dataset):
    steps = list(
        training_batches(
            dataset, INDICES, AUGMENTATION, seed=0, batch_size=4, steps=3, accumulation=2
        )
    )
    assert [len(parts) for parts in steps] == [2, 2, 2]
    images, masks, views, others, _, image_classes = steps[0][0]
    assert (views, others, image_classes) == ((), None, None)
    assert (images.shape, images.dtype) == ((2, 3, 32, 32), torch.uint8)
    assert (masks.shape, masks.dtype) == ((2, 32, 32), torch.uint8)
    assert images.is_contiguous()


def test_workers_do_not_change_the_batches(dataset):
    assert hashes(dataset, workers=2) == hashes(dataset)


def test_the_cache_does_not_change_the_batches(dataset):
    assert hashes(CachedDataset(dataset)) == hashes(dataset)


@pytest.mark.parametrize("start", [1, 2, 5, 6])
def test_resuming_continues_where_the_run_stopped(dataset, start):
    assert hashes(dataset, start_step=start) == hashes(dataset)[start:]


def test_accumulation_does_not_change_the_batches(dataset):
    assert hashes(dataset, accumulation=2) == hashes(dataset) == hashes(dataset, accumulation=4)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_processes_together_see_the_batches_of_one(dataset, accumulation):
    runs = [
        training_batches(
            dataset,
            INDICES,
            AUGMENTATION,
            seed=1,
            batch_size=4,
            steps=6,
            accumulation=accumulation,
            rank=r,
            world=2,
        )
        for r in range(2)
    ]
    assert [sha(joined([*first, *second])) for first, second in zip(*runs, strict=True)] == hashes(
        dataset
    )


def test_seeds_give_other_batches_and_the_global_state_does_not(dataset):
    torch.manual_seed(0)
    np.random.seed(0)
    first = hashes(dataset)
    torch.manual_seed(1)
    np.random.seed(1)
    assert hashes(dataset) == first
    assert set(hashes(dataset, seed=2)).isdisjoint(first)


def test_a_signal_to_a_worker_that_just_began_does_not_end_it(dataset, monkeypatch):
    """Terminals and schedulers send it to all processes, whatever these have got to."""
    start = os.fork

    def fork_and_signal():
        child = start()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return child

    monkeypatch.setattr(os, "fork", fork_and_signal)
    assert hashes(dataset, workers=2) == hashes(dataset)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_generator_is_left_alone(dataset, workers):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(
        training_batches(
            dataset, INDICES, AUGMENTATION, seed=0, batch_size=2, steps=2, workers=workers
        )
    )
    assert torch.equal(torch.get_rng_state(), before)


def visits(seed: int) -> list[int]:
    """Which sample is read when in 20 batches of 2."""
    visited: list[int] = []

    class Spy:
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> Sample:
            visited.append(index)
            return Sample(
                np.zeros((32, 32, 3), np.uint8),
                np.zeros((32, 32), np.int64),
                str(index),
                (32, 32),
                "x",
            )

    list(training_batches(Spy(), INDICES, AUGMENTATION, seed=seed, batch_size=2, steps=20))
    return visited


def test_every_epoch_visits_every_sample_once_in_an_order_of_its_own():
    visited = visits(seed=3)
    epochs = [tuple(visited[start : start + 5]) for start in range(0, 40, 5)]
    assert all(sorted(epoch) == INDICES for epoch in epochs)
    assert len(set(epochs)) > 4
    assert visits(seed=3) == visited != visits(seed=4)


def test_a_sample_is_augmented_anew_in_every_epoch(dataset):
    steps = training_batches(dataset, [0], AUGMENTATION, seed=0, batch_size=1, steps=8)
    assert len({sha(parts[0]) for parts in steps}) == 8


def test_uneven_batches_and_empty_subsets_are_refused_at_once(dataset):
    with pytest.raises(
        InputError,
        match=r"batch_size 6 .* 2 processes × accumulation 2; allowed are multiples of 4",
    ):
        training_batches(
            dataset, INDICES, AUGMENTATION, seed=0, batch_size=6, steps=1, accumulation=2, world=2
        )
    with pytest.raises(InputError, match="no sample to train on"):
        training_batches(dataset, [], AUGMENTATION, seed=0, batch_size=6, steps=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_ends_with_its_one_line(dataset, workers, tmp_path):
    Image.fromarray(np.full((40, 48), 9, np.uint8)).save(
        tmp_path / f"masks/train/{dataset.ids[3]}.png"
    )
    with pytest.raises(InputError, match=r"^/.*holds the id 9") as caught:
        hashes(dataset, workers=workers)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"^/.*holds the id 9"):
        list(evaluation_items(dataset, INDICES, AUGMENTATION, workers=workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_file_ends_with_its_one_line(dataset, workers, tmp_path):
    (tmp_path / f"images/train/{dataset.ids[3]}.png").unlink()
    with pytest.raises(InputError, match="cannot read"):
        hashes(dataset, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_yields_whole_images_with_masks_of_their_own_size(dataset, workers):
    spec = AugmentationSpec(crop=(32, 32), short_side=80)
    items = list(evaluation_items(dataset, INDICES, spec, workers=workers))
    assert [item.id for item in items] == [dataset.ids[index] for index in INDICES]
    for index, item in zip(INDICES, items, strict=True):
        assert (item.image.shape, item.image.dtype) == ((3, 80, 96), torch.uint8)
        assert item.mask.dtype == torch.int64
        np.testing.assert_array_equal(item.mask.numpy(), dataset[index].mask)


def test_processes_share_the_evaluation(dataset):
    shares = [
        [item.id for item in evaluation_items(dataset, INDICES, AUGMENTATION, rank=r, world=3)]
        for r in range(3)
    ]
    assert sorted(id for share in shares for id in share) == [
        dataset.ids[index] for index in INDICES
    ]
    assert [len(share) for share in shares] == [2, 2, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_opencv_starts_no_threads_in_workers(workers):
    """The pixels say how many threads OpenCV has where a sample is read."""

    class Threads:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            pixels = np.full((40, 40, 3), cv2.getNumThreads(), np.uint8)
            return Sample(pixels, np.zeros((40, 40), np.int64), str(index), (40, 40), str(index))

        def image_file(self, index):
            raise NotImplementedError

    cv2.setNumThreads(3)
    plain = AugmentationSpec(crop=(32, 32), scale=(1, 1), photometric=False)
    for (batch,) in training_batches(
        Threads(), range(4), plain, seed=0, batch_size=4, steps=2, workers=workers
    ):
        assert batch.images.unique().tolist() == [1]
