"""Datasets in which every image has one class: folders, a CSV, and what is refused."""

import shutil

import numpy as np
import pytest
from image_classes import CLASSES, PER_CLASS, write_folders

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pairing import find_all_pairs
from encoder_ablations.data.datasets.pixel_counts import scan_masks
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.subsets import subset, training_order
from encoder_ablations.data.loading.batches import evaluation_items, training_batches
from encoder_ablations.data.loading.set_files import planned_bytes
from encoder_ablations.data.loading.set_writer import write_set
from encoder_ablations.data.loading.stored_set import open_set
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.utils.errors import InputError


@pytest.fixture
def colors(tmp_path):
    return write_folders(tmp_path / "colors")


def changed(spec, **settings):
    return DatasetSpec.model_validate(spec.model_dump() | settings)


def csv_of(spec, rows, header="file,label"):
    path = spec.folder / "labels.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return changed(spec, labels="labels.csv")


def test_the_folder_is_the_class(colors):
    dataset = FolderDataset(colors, "train")
    assert dataset.ids[0] == "blue/000"
    assert len(dataset) == 3 * PER_CLASS["train"]
    for index, identity in enumerate(dataset.ids):
        sample = dataset[index]
        assert sample.mask.shape == (1, 1)
        assert sample.is_labelled_as_a_whole
        assert CLASSES[sample.mask.item()] == identity.split("/")[0]
    # the class is the colour that is strongest
    assert dataset[0].image.mean(axis=(0, 1)).argmax() == dataset[0].mask.item()


def test_segmentation_datasets_say_nothing_new(terrain):
    assert not {"task", "labels"} & terrain.model_dump().keys()
    assert changed(terrain, task="segmentation") == terrain


def test_an_image_counts_as_one_pixel_and_fractions_nest(colors):
    scan = scan_masks(FolderDataset(colors, "train"))
    assert scan.counts.sum(axis=1).tolist() == [1] * 18
    assert scan.pixels == [6, 6, 6]
    orders = [training_order("classification", scan.present, seed) for seed in (3, 4)]
    small, large = subset(orders[0], 3 / 18), subset(orders[0], 0.5)
    assert set(small) < set(large)
    for part, count in ((small, 1), (large, 3)):
        assert scan.counts[part].sum(axis=0).tolist() == [count] * 3
    assert orders[0] != orders[1]


def test_beginnings_have_the_shares_of_the_classes():
    """Also of a rare class, of which the smallest part shows one image."""
    presence = np.eye(3, dtype=int)[np.repeat([0, 1, 2], [60, 36, 4])]
    order = training_order("classification", presence, seed=0)
    assert sorted(order) == list(range(100))
    for count, expected in ((3, [1, 1, 1]), (25, [15, 9, 1]), (50, [30, 18, 2])):
        assert presence[order[:count]].sum(axis=0) == pytest.approx(expected, abs=1)


def test_lists_name_images_of_one_tree(colors):
    tree = changed(colors, images="train")
    lines = {"train": ["train/red/000.png", "blue/001", "train/green/002.png"], "val": ["red/003"]}
    for split, names in lines.items():
        (colors.folder / f"{split}.txt").write_text("\n".join(names))
    listed = changed(tree, splits={"train": "train.txt", "val": "val.txt"})
    assert FolderDataset(listed, "train").ids == ["blue/001", "green/002", "red/000"]
    assert len(find_all_pairs(tree)) == 18
    (colors.folder / "val.txt").write_text("red/999")
    with pytest.raises(InputError, match=r"'red/999' is listed"):
        FolderDataset(listed, "val")


def test_a_csv_gives_labels(colors):
    rows = [f"{split}/{name}/{i:03d}.png,{name}" for split, n in PER_CLASS.items()
            for name in CLASSES for i in range(n)]  # fmt: skip
    rows[0] = "train/red/000,2"  # an id, and a path without its suffix
    spec = csv_of(colors, rows)
    dataset = FolderDataset(spec, "train")
    found = dict(zip(dataset.ids, (dataset[i].mask.item() for i in range(18)), strict=True))
    assert (found["red/000"], found["red/001"], found["green/000"]) == (2, 0, 1)
    before = check_dataset(spec).fingerprint
    assert check_dataset(csv_of(colors, ["train/red/000.png,red", *rows[1:]])).fingerprint != before


@pytest.mark.parametrize(
    ("rows", "header", "words"),
    [
        (["train/red/999.png,red"], "file,label", "no image 'train/red/999.png'"),
        (["train/red/000.png,rad"], "file,label", "'rad' is no class"),
        (["000.png,red"], "file,label", "may mean"),
        (["train/red/000.png,red", "train/red/000.png,blue"], "file,label", "two classes"),
        (["train/red/000.png,red"], "name,class", "file and label"),
        (["train/red/000.png,red"], "file,label", "no label for"),
    ],
)
def test_labels_that_are_wrong(colors, rows, header, words):
    with pytest.raises(InputError, match=words) as raised:
        FolderDataset(csv_of(colors, rows, header), "train")
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_no_class(colors):
    with pytest.raises(InputError, match="'blue', which is no class"):
        FolderDataset(changed(colors, classes=["red", "green", "azure"]), "train")


def test_an_empty_class(colors):
    shutil.rmtree(colors.folder / "train" / "green")
    (colors.folder / "train" / "green").mkdir()
    with pytest.raises(InputError, match="no training image is of the class green"):
        check_dataset(colors)


def test_an_empty_class_in_another_split_is_a_warning(colors):
    shutil.rmtree(colors.folder / "val" / "green")
    (warning,) = check_dataset(colors).warnings
    assert "split 'val': no image is of the class green" in warning


def test_an_image_in_two_classes(colors):
    train = colors.folder / "train"
    shutil.copy(train / "red" / "002.png", train / "blue" / "copy.png")
    with pytest.raises(InputError, match="same image in two classes") as raised:
        check_dataset(colors)
    assert "red/002.png" in str(raised.value)


def test_an_image_in_two_splits_is_a_warning(colors):
    shutil.copy(colors.folder / "train/red/002.png", colors.folder / "test/red/other.png")
    (warning,) = check_dataset(colors).warnings
    assert "splits share 1 image" in warning


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"value_map": {0: 1}}, "value_map is about masks"),
        ({"mask_format": "matte"}, "mask_format is about masks"),
        ({"images": "{split}/*/{id}.png"}, "not a pattern"),
        ({"task": "segmentation", "labels": "x.csv"}, "labels and image_classes belong"),
        ({"task": "detection"}, "task"),
    ],
)
def test_keys_that_do_not_fit(colors, settings, words):
    with pytest.raises(ValueError, match=words):
        changed(colors, **settings)


CROP = AugmentationSpec(crop=(64, 64), scale=(1.0, 1.5), rotate=20, quarter_turns=0.5)


def test_crops_keep_the_class(colors):
    dataset = FolderDataset(colors, "train")
    (batches,) = training_batches(dataset, range(18), CROP, seed=0, batch_size=6, steps=1)
    assert batches[0].images.shape == (6, 3, 64, 64)
    assert batches[0].masks.shape == (6, 1, 1)
    strongest = batches[0].images.float().mean(dim=(2, 3)).argmax(dim=1)
    assert (strongest == batches[0].masks.flatten()).all()
    for item in evaluation_items(dataset, [0, 17], CROP):
        assert item.mask.shape == (1, 1)
        assert item.image.shape == (3, 66, 72)


def test_a_stored_set_gives_the_same_samples(colors):
    dataset = FolderDataset(colors, "train")
    for short_side in (None, 33):
        folder = write_set(dataset, short_side)
        assert (folder / "pixels.bin").stat().st_size == planned_bytes(dataset, short_side)
    stored = open_set(dataset, [None])
    for index in (0, 9, 17):
        assert np.array_equal(stored[index].image, dataset[index].image)
        assert np.array_equal(stored[index].mask, dataset[index].mask)
    small = open_set(dataset, [33])
    assert small[5].image.shape == (33, 36, 3)
    assert small[5].mask.tolist() == dataset[5].mask.tolist()
    (item,) = evaluation_items(small, [5], CROP)
    assert item.mask.shape == (1, 1)
