"""Sets on disk: equal to what files hold, resumable, checked, named when they cannot be used."""

import json
import multiprocessing
import os
import pickle
import signal

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.batches import evaluation_items, training_batches
from encoder_ablations.data.loading.cache import CachedDataset, for_evaluation, for_training
from encoder_ablations.data.loading.set_files import (
    SetFiles,
    planned_bytes,
    remove_set,
    set_folder,
)
from encoder_ablations.data.loading.set_writer import write_set
from encoder_ablations.data.loading.stored_set import StoredSet, open_set
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.utils.errors import InputError

PLAIN = AugmentationSpec(crop=(32, 32))
SMALL = AugmentationSpec(crop=(32, 32), short_side=40, resize_first=True)


@pytest.fixture
def dataset(make_dataset):
    return FolderDataset(make_dataset({"train": 5, "val": 2}, size=(60, 90)), "train")


def batches(samples, augmentation, workers=0):
    found = training_batches(
        samples, range(len(samples)), augmentation, seed=3, batch_size=4, steps=4, workers=workers
    )
    return [(batch.images.numpy().tobytes(), batch.masks.numpy().tobytes()) for (batch,) in found]


def items(samples, augmentation):
    found = evaluation_items(samples, range(len(samples)), augmentation)
    return [
        (item.image.numpy().tobytes(), item.mask.numpy().tobytes(), item.mask.shape, item.id)
        for item in found
    ]


def test_samples_equal_those_of_the_files(dataset):
    write_set(dataset, None)
    stored = for_training(dataset, PLAIN)
    assert isinstance(stored, StoredSet)
    assert len(stored) == len(dataset)
    assert stored.ids == dataset.ids
    for index in range(len(dataset)):
        expected, sample = dataset[index], stored[index]
        np.testing.assert_array_equal(sample.image, expected.image)
        np.testing.assert_array_equal(sample.mask, expected.mask)
        assert sample.mask.dtype == np.uint8
        assert (sample.id, sample.size, sample.scene) == (
            expected.id,
            expected.size,
            expected.scene,
        )
        assert stored.image_file(index) == dataset.image_file(index)


@pytest.mark.parametrize(
    ("augmentation", "short_side"), [(PLAIN, None), (SMALL, None), (SMALL, 40)]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_training_sees_the_same_bits(dataset, augmentation, short_side, workers):
    expected = batches(dataset, augmentation)
    assert batches(CachedDataset(dataset), augmentation) == expected
    write_set(dataset, short_side)
    stored = for_training(dataset, augmentation)
    assert isinstance(stored, StoredSet)
    assert stored.short_side == short_side
    assert batches(stored, augmentation, workers) == expected


@pytest.mark.parametrize(("short_side", "kept"), [(None, None), (40, None), (40, 40)])
def test_evaluation_sees_the_same_bits_at_each_masks_own_size(dataset, short_side, kept):
    augmentation = AugmentationSpec(short_side=short_side)
    expected = items(dataset, augmentation)
    write_set(dataset, kept)
    stored = for_evaluation(dataset, augmentation)
    assert isinstance(stored, StoredSet)
    assert items(stored, augmentation) == expected
    assert {shape for _, _, shape, _ in expected} == {(60, 90)}


def test_a_small_set_serves_only_what_it_can_serve_exactly(dataset):
    write_set(dataset, 40)
    assert isinstance(for_training(dataset, AugmentationSpec(short_side=40)), CachedDataset)
    assert isinstance(
        for_training(dataset, AugmentationSpec(short_side=50, resize_first=True)), CachedDataset
    )
    assert for_evaluation(dataset, AugmentationSpec(short_side=50)) is dataset
    assert isinstance(for_evaluation(dataset, AugmentationSpec(), keep=True), CachedDataset)


def test_four_bytes_a_pixel(dataset):
    for short_side, pixels in ((None, 60 * 90), (40, 40 * 60)):
        folder = write_set(dataset, short_side)
        assert (folder / "pixels.bin").stat().st_size == 5 * 4 * pixels
        assert planned_bytes(dataset, short_side) == 5 * 4 * pixels


def write_and_die(spec, count):
    done = 0

    def advance(new):
        nonlocal done
        done += new
        if done == count:
            os.kill(os.getpid(), signal.SIGKILL)

    write_set(FolderDataset(spec, "train"), None, advance)


class Counting(FolderDataset):
    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_write_goes_on_where_it_ended(dataset, torn):
    process = multiprocessing.get_context("spawn").Process(
        target=write_and_die, args=(dataset.spec, 3)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert open_set(dataset, [None]) is None
    folder = set_folder(dataset, None)
    if torn:  # the last line was not written whole
        log = folder / "written.jsonl"
        log.write_text(log.read_text()[:-5])
    counting, steps = Counting(dataset.spec, "train"), []
    write_set(counting, None, steps.append)
    assert counting.reads == (3 if torn else 2)
    assert sum(steps) == 5
    assert not (folder / "written.jsonl").exists()
    assert batches(open_set(dataset, [None]), PLAIN) == batches(dataset, PLAIN)


def test_a_finished_set_is_not_written_again(dataset):
    write_set(dataset, None)
    counting = Counting(dataset.spec, "train")
    write_set(counting, None)
    assert counting.reads == 0


def test_a_damaged_sample_is_named_and_read_from_its_files(dataset, caplog):
    folder = write_set(dataset, None)
    expected = batches(dataset, PLAIN)
    with (folder / "pixels.bin").open("r+b") as file:
        file.seek(4 * 60 * 90 + 7)  # in the second sample
        file.write(b"\x99\x98")
    stored = open_set(dataset, [None])
    assert batches(stored, PLAIN) == expected
    assert caplog.text.count("damaged at 'train_1'") == 1
    counting = Counting(dataset.spec, "train")
    write_set(counting, None)
    assert counting.reads == 5
    caplog.clear()
    assert batches(open_set(dataset, [None]), PLAIN) == expected
    assert not caplog.text


@pytest.mark.parametrize("damage", ["truncated", "index", "edited"])
def test_a_damaged_set_is_named_and_not_used(dataset, caplog, damage):
    folder = write_set(dataset, None)
    index = folder / "index.json"
    if damage == "truncated":
        with (folder / "pixels.bin").open("r+b") as file:
            file.truncate(1000)
    elif damage == "index":
        index.write_text(index.read_text()[:-20])
    else:
        content = json.loads(index.read_text())
        content["entries"][0][0] = 5
        index.write_text(json.dumps(content))
    assert isinstance(for_training(dataset, PLAIN), CachedDataset)
    assert f"the cached set {folder} is damaged" in caplog.text
    assert "'ablate cache' writes it anew" in caplog.text
    write_set(dataset, None)
    assert isinstance(for_training(dataset, PLAIN), StoredSet)


@pytest.mark.parametrize("change", ["image", "settings"])
def test_a_set_of_other_files_or_settings_is_named_and_not_used(dataset, caplog, change):
    write_set(dataset, None)
    if change == "image":
        Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(dataset.pairs[2].image)
        changed = FolderDataset(dataset.spec, "train")
    else:
        changed = FolderDataset(dataset.spec.model_copy(update={"ignore_ids": (2,)}), "train")
    assert isinstance(for_training(changed, PLAIN), CachedDataset)
    assert "is of other files or settings" in caplog.text
    assert "a name of its own" in caplog.text
    assert "damaged" not in caplog.text
    write_set(changed, None)
    assert batches(for_training(changed, PLAIN), PLAIN) == batches(changed, PLAIN)


@pytest.mark.parametrize(
    "changes",
    [
        {"ignore_ids": (2,)},
        {"value_map": {0: 1, 1: 0, 2: 2}},
        {"reduce_zero_label": True},
        {"ignore_others": True},
        {"mask_format": "matte"},
        {"mask_format": "supervisely", "mask_titles": ("rock",)},
        {"mask_format": "colors", "mask_colors": ((0, 0, 0), (255, 255, 255))},
        {
            "mask_format": "colors",
            "mask_colors": ((0, 0, 0), (255, 255, 255)),
            "round_colors": True,
        },
        {"classes": ("soil", "rock")},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_whatever_decides_what_masks_mean_decides_whether_a_set_is_current(dataset, changes):
    known = {SetFiles(dataset, None).state}
    spec = dataset.spec
    for key, value in changes.items():
        spec = spec.model_copy(update={key: value})
        known.add(SetFiles(FolderDataset(spec, "train", dataset.pairs), None).state)
    assert len(known) == 1 + len(changes)


def test_who_reads_an_old_set_is_not_disturbed_by_a_new_one(dataset):
    write_set(dataset, None)
    stored = open_set(dataset, [None])
    before = stored[0].image.copy()
    Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(dataset.pairs[0].image)
    write_set(FolderDataset(dataset.spec, "train"), None)
    np.testing.assert_array_equal(stored[0].image, before)


def test_two_writers_do_not_mix(dataset):
    folder = set_folder(dataset, None)
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(InputError, match="another process writes"):
        write_set(dataset, None)


def test_bad_files_end_the_writing_with_their_name(dataset):
    dataset.pairs[1].mask.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"train_1\.png is not an image"):
        write_set(dataset, None)
    assert open_set(dataset, [None]) is None


def test_samples_cannot_be_changed_and_pixels_do_not_travel(dataset):
    write_set(dataset, None)
    stored = open_set(dataset, [None])
    with pytest.raises(ValueError, match="read-only"):
        stored[0].image[:] = 0
    assert len(pickle.dumps(stored)) < len(pickle.dumps(dataset)) + 2000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored))[1].image, dataset[1].image)


def test_removing(dataset):
    assert not remove_set(dataset, None)
    folder = write_set(dataset, None)
    assert remove_set(dataset, None)
    assert not folder.exists()


def test_resize_first_needs_a_size():
    with pytest.raises(ValueError, match="short_side, which is not set"):
        AugmentationSpec(resize_first=True)
