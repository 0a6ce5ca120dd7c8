"""More than 255 classes: 255 is a class, 65535 is ignored, nothing is cut to 8 bits."""

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.checks.lint import lint
from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.class_map import ClassMap, SharedClass, share_classes
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import colorize, palette
from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.data.datasets.spec import MOST_CLASSES
from encoder_ablations.data.intake.contact_sheet import write_sheet
from encoder_ablations.data.loading.batches import evaluation_items, training_batches
from encoder_ablations.data.loading.cache import CachedDataset, for_evaluation, for_training
from encoder_ablations.data.loading.set_files import planned_bytes
from encoder_ablations.data.loading.set_writer import write_set
from encoder_ablations.data.loading.stored_set import StoredSet
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.transforms import shrink, training_view
from encoder_ablations.utils.errors import InputError

PLAIN = AugmentationSpec(crop=(64, 64), scale=(1, 1))
WARPED = AugmentationSpec(
    crop=(64, 64), rotate=30, elastic=(3, 4), vertical_flip=0.5, quarter_turns=0.5
)


def files(spec, split):
    """What the mask files of a split hold, read by nobody but Pillow."""
    return {
        path.stem: np.asarray(Image.open(path))
        for path in (spec.folder / "masks" / split).glob("*.png")
    }


@pytest.mark.parametrize(
    ("classes", "ignore", "kept"), [(2, 255, "u1"), (255, 255, "u1"), (256, 65535, "u2")]
)
def test_the_rule(classes, ignore, kept):
    assert ignore_label(classes) == ignore
    assert mask_type(ignore) == np.dtype(kept)


def test_samples_hold_the_files_ids(wide):
    dataset = FolderDataset(wide, "test")
    expected = files(wide, "test")
    for sample in (dataset[index] for index in range(len(dataset))):
        np.testing.assert_array_equal(sample.mask, expected[sample.id])
        assert (sample.ignore, sample.mask.dtype) == (65535, np.uint16)
        assert {0, 255, 299, 65535} <= set(np.unique(sample.mask).tolist())


def test_checks_pass_and_name_few_of_the_absent_classes(wide):
    checked = check_dataset(wide)
    masks = files(wide, "train").values()
    expected = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=65536)
    assert checked.scans["train"].pixels == expected[:300].tolist()
    assert checked.scans["train"].ignored.sum() == expected[65535]
    assert len(checked.warnings) == 3
    assert all(len(warning) < 400 for warning in checked.warnings)
    absent = int((expected[:300] == 0).sum())
    assert checked.warnings[0].endswith(f" and {absent - 20} other classes.")


def test_too_many_classes_are_refused(wide):
    many = wide.model_copy(update={"classes": tuple(map(str, range(MOST_CLASSES + 1)))})
    with pytest.raises(InputError, match="has 2001 classes; training here takes up to 2000"):
        check_dataset(many)
    (error,) = (each for each in lint(many).findings if each.rule.severity == "error")
    assert (error.rule.code, error.detail) == ("many-classes", "2001, at most 2000 can be")


def test_lint_has_no_complaint_of_its_own(wide):
    found = lint(wide)
    assert [each for each in found.findings if each.rule.severity == "error"] == []


def test_crops_take_the_ids_and_pad_with_65535(wide):
    sample = FolderDataset(wide, "train")[0]
    for flip in (0.0, 1.0):
        spec = PLAIN.model_copy(update={"flip": flip, "photometric": False})
        image, mask = training_view(sample, spec, np.random.default_rng(0))
        columns = [
            place
            for place in range(13)
            if (image[:, :60].transpose(1, 2, 0) == turned(sample, flip)[place]).all()
        ]
        assert mask.dtype == np.uint16
        assert (mask[60:] == 65535).all()
        (column,) = columns
        whole = sample.mask[:, ::-1] if flip else sample.mask
        np.testing.assert_array_equal(mask[:60], whole[:, column : column + 64])


def turned(sample, flip):
    """Every 60×64 part of the image, mirrored or not."""
    image = sample.image[:, ::-1] if flip else sample.image
    return [image[:, column : column + 64] for column in range(13)]


def test_warped_crops_hold_ids_of_the_mask_and_65535_outside(wide):
    sample = FolderDataset(wide, "train")[0]
    allowed = set(np.unique(sample.mask).tolist())
    plain = training_view(
        sample, WARPED.model_copy(update={"photometric": False}), np.random.default_rng(3)
    )
    image, mask = plain
    assert mask.dtype == np.uint16
    assert set(np.unique(mask).tolist()) <= allowed
    assert (mask[(image == 128).all(axis=0)] == 65535).all()
    assert (image == 128).all(axis=0).any()
    assert len(set(np.unique(mask).tolist()) - {65535}) > 3


@pytest.mark.parametrize(
    "augmentation",
    [PLAIN, WARPED, AugmentationSpec(crop=(32, 32), short_side=40, resize_first=True)],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_and_stored_sets_give_the_same_bits(
    wide, augmentation, workers, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset = FolderDataset(wide, "train")

    def batches(samples, workers=0):
        options = {"seed": 3, "batch_size": 4, "steps": 4, "workers": workers}
        found = training_batches(samples, range(len(samples)), augmentation, **options)
        return [
            (batch.images.numpy().tobytes(), batch.masks.numpy().tobytes()) for (batch,) in found
        ]

    expected = batches(dataset)
    assert batches(CachedDataset(dataset)) == expected
    for short_side in dict.fromkeys([None, augmentation.short_side]):
        write_set(dataset, short_side)
        stored = for_training(dataset, augmentation)
        assert isinstance(stored, StoredSet)
        assert batches(stored, workers) == expected


@pytest.mark.parametrize("short_side", [None, 40])
def test_a_stored_set_has_five_bytes_a_pixel_and_is_written_once(
    wide, short_side, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset = FolderDataset(wide, "test")
    folder = write_set(dataset, short_side)
    pixels = 60 * 76 if short_side is None else 40 * 51
    assert (
        (folder / "pixels.bin").stat().st_size
        == 4 * 5 * pixels
        == planned_bytes(dataset, short_side)
    )
    written = (folder / "pixels.bin").stat().st_mtime_ns
    write_set(dataset, short_side)
    assert (folder / "pixels.bin").stat().st_mtime_ns == written
    stored = for_evaluation(dataset, AugmentationSpec(short_side=short_side))
    assert isinstance(stored, StoredSet)
    for index in range(len(dataset)):
        expected = shrink(dataset[index], short_side)
        np.testing.assert_array_equal(stored[index].mask, expected.mask)
        assert (stored[index].ignore, stored[index].mask.dtype) == (65535, np.uint16)
    items = evaluation_items(stored, range(len(stored)), AugmentationSpec(short_side=short_side))
    assert all(np.array_equal(item.mask.numpy(), files(wide, "test")[item.id]) for item in items)


def test_a_damaged_or_8_bit_set_is_not_used(wide, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset = FolderDataset(wide, "test")
    path = write_set(dataset, None) / "pixels.bin"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 4 // 5])
    assert for_evaluation(dataset, AugmentationSpec()) is dataset
    assert "pixels.bin has" in caplog.text
    write_set(dataset, None)
    assert path.read_bytes() == content


def test_pictures_of_ids(wide, tmp_path):
    colors = palette(300)
    labels = np.array([[0, 255, 299, 65535]])
    assert colorize(labels, colors).tolist() == [
        [list(colors[0]), list(colors[255]), list(colors[299]), [0, 0, 0]]
    ]
    with pytest.raises(ValueError, match="class id 300 has no colour"):
        colorize(np.array([[300]]), colors)
    write_sheet(wide, tmp_path / "sheet.png", "wide")
    assert Image.open(tmp_path / "sheet.png").size[0] > 1000


def test_class_maps_between_wide_and_narrow_datasets():
    names = [f"class {number}" for number in range(300)]
    narrow = ClassMap(
        shared={"last": SharedClass(trained=("c",), tested=("class 299", "class 255"))}
    )
    shared = share_classes(narrow, ["a", "b", "c"], names, "map")
    assert [shared.truth[label] for label in (255, 299, 0, 65535)] == [0, 0, 255, 255]
    whole = share_classes(None, names, names, "none")
    assert [whole.truth[label] for label in (0, 255, 299, 65535)] == [0, 255, 299, 65535]
    wide = ClassMap(shared={name: SharedClass() for name in names[:255]})
    edge = share_classes(wide, names, names[:255], "map")  # 255 classes and "other"
    assert [edge.truth[label] for label in (0, 254, 255)] == [0, 254, 65535]
