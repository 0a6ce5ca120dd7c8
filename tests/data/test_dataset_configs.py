import re

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.data.references import load_dataset
from encoder_ablations.utils.config import config_names, find_config
from encoder_ablations.utils.errors import InputError


@pytest.mark.parametrize("name", config_names("datasets"))
def test_every_dataset_builds_and_says_what_it_is(name):
    path = find_config("datasets", name)
    spec = load_dataset(name)
    assert spec.name == name
    assert len(set(colors_of(spec))) == len(spec.classes)
    head = path.read_text().split("\nname:")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert re.search("Get it:.*Layout:", head, re.DOTALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ignore_ids": [-1]}, "ignore_ids.0"),
        ({"ignore_ids": [65536]}, "ignore_ids.0"),
        ({"value_map": {-1: 0}}, "value_map"),
        ({"value_map": {0: 3}}, "value_map sends 0 to 3"),
    ],
)
def test_values_that_no_mask_can_hold_are_refused(make_dataset, change, message):
    with pytest.raises(InputError, match=message):
        make_dataset(**change)


def save(path, values, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.array(values, np.uint8))
    if palette:
        picture = picture.convert("P")
        picture.putpalette(list(range(256)) * 3)
        picture.putdata(np.array(values, np.uint8).ravel().tolist())
    picture.save(path)


def test_ade20k_as_it_is_unpacked(tmp_path, monkeypatch):
    """0 is not labelled, 1..150 are the classes."""
    monkeypatch.setenv("DATASETS_ROOT", str(tmp_path))
    for split in ("training", "validation"):
        save(tmp_path / f"ADEChallengeData2016/images/{split}/ADE_1.jpg", np.zeros((2, 3, 3)))
        save(
            tmp_path / f"ADEChallengeData2016/annotations/{split}/ADE_1.png",
            [[0, 1, 2], [150, 149, 13]],
        )
    spec = load_dataset("ade20k")
    for split in ("train", "val"):
        (sample,) = FolderDataset(spec, split)
        assert sample.mask.tolist() == [[255, 0, 1], [149, 148, 12]]
    assert len(spec.classes) == 150
    assert (spec.classes[0], spec.classes[12], spec.classes[149]) == ("wall", "person", "flag")


def test_voc_as_it_is_unpacked(tmp_path, monkeypatch):
    """Splits are lists; some pictures lack a mask; masks have a palette, and 255 is the border."""
    monkeypatch.setenv("DATASETS_ROOT", str(tmp_path))
    root = tmp_path / "VOCdevkit/VOC2012"
    for name in ("2007_1", "2007_2", "no_mask"):
        save(root / f"JPEGImages/{name}.jpg", np.zeros((1, 3, 3)))
    for name in ("2007_1", "2007_2"):
        save(root / f"SegmentationClass/{name}.png", [[0, 20, 255]], palette=True)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("2007_1\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_2\n")
    spec = load_dataset("voc2012")
    (sample,) = FolderDataset(spec, "val")
    assert (sample.id, sample.mask.tolist()) == ("2007_2", [[0, 20, 255]])
    assert (len(spec.classes), spec.classes[20]) == (21, "tvmonitor")
