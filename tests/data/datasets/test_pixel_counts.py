import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pixel_counts import scan_masks
from encoder_ablations.utils.errors import InputError


def cache_files() -> list[Path]:
    return sorted(Path(os.environ["XDG_CACHE_HOME"]).rglob("scans/*"))


@pytest.fixture
def masks_read(monkeypatch) -> list[int]:
    """Indices of the masks that were read from now on."""
    read: list[int] = []
    original = FolderDataset.read_mask

    def spy(self, index: int) -> np.ndarray:
        read.append(index)
        return original(self, index)

    monkeypatch.setattr(FolderDataset, "read_mask", spy)
    return read


def test_counts_equal_a_naive_count(make_dataset):
    dataset = FolderDataset(make_dataset({"train": 7, "val": 1}, ignore_ids=[2]), "train")
    scan = scan_masks(dataset)
    for index in range(7):
        mask = dataset[index].mask
        assert scan.counts[index].tolist() == [(mask == label).sum() for label in range(3)]
        assert scan.ignored[index] == (mask == 255).sum()
        assert scan.counts[index].sum() + scan.ignored[index] == 24 * 32
    assert scan.counts.dtype == np.int64
    assert scan.present.tolist() == [[True, True, False]] * 7


def test_first_bad_mask_in_order_is_reported(make_dataset, tmp_path):
    dataset = FolderDataset(make_dataset({"train": 30, "val": 1}), "train")
    for bad in (dataset.ids[9], dataset.ids[10], dataset.ids[25]):
        Image.fromarray(np.full((24, 32), 9, np.uint8)).save(tmp_path / f"masks/train/{bad}.png")
    for _ in range(5):
        with pytest.raises(InputError, match=f"{dataset.ids[9]}.png holds the id 9"):
            scan_masks(dataset)
    assert cache_files() == []


def test_second_scan_reads_nothing(make_dataset, masks_read):
    spec = make_dataset()
    first = scan_masks(FolderDataset(spec, "train"))
    assert sorted(masks_read) == [0, 1, 2, 3]
    second = scan_masks(FolderDataset(spec, "train"))
    assert sorted(masks_read) == [0, 1, 2, 3]
    np.testing.assert_array_equal(first.counts, second.counts)
    np.testing.assert_array_equal(first.ignored, second.ignored)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({}, {"ignore_ids": [1, 255]}),
        ({}, {"value_map": {0: 0, 1: 1, 2: 0}}),
        ({"value_map": {0: 0, 1: 1, 2: 2}}, {"value_map": {0: 0, 1: 2, 2: 1}}),
    ],
)
def test_other_settings_are_scanned_again(make_dataset, settings, change):
    spec = make_dataset(**settings)
    before = scan_masks(FolderDataset(spec, "train"))
    changed = scan_masks(FolderDataset(spec.model_copy(update=change), "train"))
    assert not np.array_equal(before.counts, changed.counts)


def test_a_changed_mask_is_scanned_again(make_dataset, tmp_path):
    spec = make_dataset()
    path = tmp_path / "masks/train/train_2.bmp"
    (tmp_path / "masks/train/train_2.png").unlink()
    for label in (0, 1):  # of equal size in bytes
        Image.fromarray(np.full((24, 32), label, np.uint8)).save(path)
        os.utime(path, ns=(0, label))
        assert scan_masks(FolderDataset(spec, "train")).counts[2][label] == 24 * 32


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "folder"])
def test_damaged_cache_is_written_anew(make_dataset, masks_read, damage):
    dataset = FolderDataset(make_dataset(), "train")
    right = scan_masks(dataset)
    (cache,) = cache_files()
    content = cache.read_bytes()
    if damage == "folder":
        cache.unlink()
        cache.mkdir()
    else:
        flipped = bytes([*content[:40], content[40] ^ 1, *content[41:]])
        cache.write_bytes({"truncate": content[:-8], "flip": flipped, "empty": b""}[damage])
    np.testing.assert_array_equal(scan_masks(dataset).counts, right.counts)
    assert len(masks_read) == 8
    if damage == "folder":
        shutil.rmtree(cache)
    else:
        assert cache.read_bytes() == content


@pytest.mark.parametrize("place", ["/proc/nowhere", "file"])
def test_unwritable_cache_costs_only_time(make_dataset, masks_read, monkeypatch, tmp_path, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    dataset = FolderDataset(make_dataset(), "train")
    np.testing.assert_array_equal(scan_masks(dataset).counts, scan_masks(dataset).counts)
    assert len(masks_read) == 8


def test_camvid_holds_all_classes(camvid):
    scan = scan_masks(FolderDataset(camvid, "train"))
    assert scan.counts.shape == (367, 11)
    assert scan.counts.any(axis=0).all()
    assert (scan.counts.sum(axis=1) + scan.ignored == 360 * 480).all()
