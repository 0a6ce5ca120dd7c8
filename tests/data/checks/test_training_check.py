import os
import shutil

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.utils.errors import InputError


def test_a_sound_dataset_has_no_warnings(make_dataset):
    checked = check_dataset(make_dataset({"train": 4, "val": 2, "test": 3}))
    assert {split: len(dataset) for split, dataset in checked.datasets.items()} == {
        "train": 4,
        "val": 2,
        "test": 3,
    }
    assert {split: len(scan.counts) for split, scan in checked.scans.items()} == {
        "train": 4,
        "val": 2,
        "test": 3,
    }
    assert checked.warnings == []


def test_images_shared_by_splits_are_reported(make_dataset, tmp_path):
    spec = make_dataset()
    for kind in ("images", "masks"):
        shutil.copy(tmp_path / kind / "train/train_1.png", tmp_path / kind / "val/train_1.png")
    assert check_dataset(spec).warnings == [
        "dataset 'toy': the splits train and val share 1 image (train_1); "
        "scores on val will be better than on new images."
    ]


def test_equal_names_alone_are_no_overlap(make_dataset, tmp_path):
    spec = make_dataset()
    for path in tmp_path.rglob("*.png"):  # saved again as files of one size and one date
        Image.open(path).save(path.with_suffix(".bmp"))
        os.utime(path.with_suffix(".bmp"), ns=(0, 0))
        path.unlink()
    for kind in ("images", "masks"):
        (tmp_path / kind / "val/val_0.bmp").rename(tmp_path / kind / "val/train_0.bmp")
    assert check_dataset(spec).warnings == []


def test_one_folder_for_two_splits_is_reported(make_dataset):
    (warning,) = check_dataset(make_dataset(splits={"train": "train", "val": "train"})).warnings
    assert "share 4 images (train_0, train_1, train_2, …)" in warning


def test_absent_classes_and_unlabelled_masks_are_reported(make_dataset, tmp_path):
    spec = make_dataset(classes=["a", "b", "c", "d", "e"])
    Image.fromarray(np.full((24, 32), 255, np.uint8)).save(tmp_path / "masks/val/val_0.png")
    assert check_dataset(spec).warnings == [
        "dataset 'toy', split 'train': no mask shows d, e.",
        "dataset 'toy', split 'val': no mask shows d, e.",
        "dataset 'toy', split 'val': in 1 of 2 masks no pixel is labelled.",
    ]


def test_masks_of_0_and_255_are_refused_rather_than_trained_on(make_dataset, tmp_path):
    spec = make_dataset(classes=["background", "crater"])
    for path in (tmp_path / "masks").rglob("*.png"):
        Image.fromarray(np.random.default_rng(0).choice([0, 255], (24, 32)).astype(np.uint8)).save(
            path
        )
    with pytest.raises(
        InputError, match=r"only the class 'background'.*value_map: \{0: 0, 255: 1\}"
    ):
        check_dataset(spec)
    assert check_dataset(spec.model_copy(update={"value_map": {0: 0, 255: 1}})).warnings == []


def test_a_truncated_image_is_found_before_training(make_dataset, tmp_path):
    spec = make_dataset()
    path = tmp_path / "images/train/train_2.png"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"train_2.png is damaged or truncated"):
        check_dataset(spec)
