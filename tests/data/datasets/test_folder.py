import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.utils.errors import InputError


def put_mask(tmp_path, values, dtype=np.uint8) -> None:
    """Write the mask of the first training image, 24×32 pixels, that begins with ``values``."""
    mask = np.zeros((24, 32), dtype)
    mask.flat[: len(values)] = values
    Image.fromarray(mask).save(tmp_path / "masks/train/train_0.png")


def first_pixels(spec, count: int) -> list[int]:
    mask = FolderDataset(spec, "train")[0].mask
    assert mask is not None
    return mask.flat[:count].tolist()


def test_sample_is_what_lies_on_disk(make_dataset, tmp_path):
    dataset = FolderDataset(make_dataset(scene_pattern="^([a-z]+)_"), "train")
    assert len(dataset) == 4
    sample = dataset[2]
    assert (sample.id, sample.scene, sample.size) == ("train_2", "train", (24, 32))
    assert (sample.image.dtype, sample.mask.dtype) == (np.uint8, np.uint8)
    np.testing.assert_array_equal(
        sample.image, np.asarray(Image.open(tmp_path / "images/train/train_2.png"))
    )
    np.testing.assert_array_equal(
        sample.mask, np.asarray(Image.open(tmp_path / "masks/train/train_2.png"))
    )


def test_truth_can_be_computed_with(make_dataset):
    sample = FolderDataset(make_dataset(), "train")[0]
    assert sample.truth.dtype == np.int64
    np.testing.assert_array_equal(sample.truth * 200 // 200, sample.mask)
    with pytest.raises(ValueError, match="no mask"):
        _ = replace(sample, mask=None).truth


def test_ignored_ids_become_255(make_dataset, tmp_path):
    spec = make_dataset(ignore_ids=[7, 300])
    put_mask(tmp_path, [0, 2, 7, 300], np.uint16)
    assert first_pixels(spec, 4) == [0, 2, IGNORE, IGNORE]


def test_value_map_translates_and_goes_before_ignore_ids(make_dataset, tmp_path):
    spec = make_dataset(value_map={0: 0, 255: 1, 9: 255, 1000: 2}, ignore_ids=[255, 8])
    put_mask(tmp_path, [0, 255, 9, 8, 1000], np.uint16)
    assert first_pixels(spec, 5) == [0, 1, IGNORE, IGNORE, 2]


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        (
            [3],
            {},
            r"holds the id 3; allowed are 0..2 \(3 classes\), ignored: 255. .*value_map",
        ),
        ([9, 3, 4, 5, 6, 7], {}, "holds the id 3, 4, 5, 6, 7, …;"),
        ([255], {"ignore_ids": [3]}, r"holds the id 255; .*value_map: \{0: 0, 255: 1\}"),
        (
            [1],
            {"value_map": {0: 0, 2: 1}},
            "holds the id 1; value_map knows 0, 2, ignored: 255. Add it to value_map",
        ),
        ([70000], {}, "holds the id 70000;"),
        ([-1], {}, "holds the id -1;"),
    ],
)
def test_unknown_ids_are_named_with_the_fix(make_dataset, tmp_path, values, changes, message):
    spec = make_dataset(**changes)
    if max(values) > 65535 or min(values) < 0:
        Image.fromarray(np.full((24, 32), values[0], np.int32)).save(
            tmp_path / "masks/train/train_0.tif"
        )
        (tmp_path / "masks/train/train_0.png").unlink()
    else:
        put_mask(tmp_path, values)
    dataset = FolderDataset(spec, "train")
    with pytest.raises(InputError, match=message) as caught:
        dataset[0]
    assert str(tmp_path / "masks/train/train_0") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mask_of_another_size_is_refused(make_dataset, tmp_path):
    spec = make_dataset()
    Image.fromarray(np.zeros((32, 24), np.uint8)).save(tmp_path / "masks/train/train_1.png")
    dataset = FolderDataset(spec, "train")
    for read in (dataset.__getitem__, dataset.read_checked_mask):
        with pytest.raises(
            InputError, match=r"train_1.png has 24×32 pixels .* has 32×24 \(after its EXIF rotation"
        ):
            read(1)


def test_scene_pattern_must_find_a_scene(make_dataset):
    with pytest.raises(InputError, match=r"scene_pattern '.x.' finds no scene in 'train_0'"):
        FolderDataset(make_dataset(scene_pattern="(x)"), "train")


def test_dataset_survives_pickling(make_dataset):
    dataset = FolderDataset(make_dataset(), "val")
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[1].image, dataset[1].image)
    assert copy.ids == dataset.ids


def test_camvid_reads(camvid):
    sample = FolderDataset(camvid, "val")[0]
    assert sample.image.shape == (360, 480, 3)
    assert set(np.unique(sample.mask)) <= {*range(11), IGNORE}
    assert sample.scene == "0016E5"
