"""Photos with an orientation in their EXIF data, and masks drawn on them as stored or as turned."""

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.checks.lint import lint
from encoder_ablations.data.checks.repair import repair
from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.orientation import drawn_on
from encoder_ablations.data.datasets.reading import image_size, read_ids, read_image
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.loading.set_files import planned_bytes
from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.synthetic.terrain import generate_terrain
from encoder_ablations.utils.errors import InputError

ORIENTATION = 0x0112
TURNS = {
    6: lambda pixels: np.rot90(pixels, -1),
    8: np.rot90,
    3: lambda pixels: np.rot90(pixels, 2),
    2: np.fliplr,
}
EVERY = pytest.mark.parametrize("orientation", TURNS)
SIZES = pytest.mark.parametrize("height", [96, 64], ids=["square", "wide"])
DRAWN = pytest.mark.parametrize("drawn", ["upright", "stored"])


def exif(orientation):
    tag = Image.Exif()
    tag[ORIENTATION] = orientation
    return tag


@pytest.fixture(scope="module")
def drawn_terrain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terrain")
    generate_terrain(folder, train=4, val=2, test=1, size=96, seed=3)
    return folder


@pytest.fixture
def photos(drawn_terrain, tmp_path):
    """Make a dataset whose first image has an orientation; return spec, stored image and mask."""

    def make(orientation, drawn, height, suffix="jpg", flat=False, **changes):
        root = tmp_path / "photos"
        for path in sorted(drawn_terrain.glob("*/*/*.png")):
            kind, split = path.parts[-3:-1]
            if split == "test":
                continue
            pixels = np.asarray(Image.open(path))[:height]
            target = root / kind / split / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            first = path.stem == "train_00000"
            if kind == "masks":
                if first and drawn == "upright":
                    pixels = TURNS[orientation](pixels)
                Image.fromarray(pixels * (not flat)).save(target)
            else:
                tag = {"exif": exif(orientation)} if first else {}
                quality = {"quality": 95} if suffix == "jpg" else {}
                Image.fromarray(pixels).save(target.with_suffix(f".{suffix}"), **quality, **tag)
        splits = {"train": "train", "val": "val"}
        classes = ("background", "crater", "boulder")
        spec = DatasetSpec(name="photos", root=str(root), classes=classes, splits=splits, **changes)
        pair = FolderDataset(spec, "train").pairs[0]
        return spec, pair.image, np.asarray(Image.open(pair.mask))

    return make


def codes(spec):
    return {each.rule.code for each in lint(spec).findings if each.rule.severity != "note"}


def stored(path):
    """The pixels in the file, whatever its EXIF data say."""
    image = Image.open(path)
    image.getexif()
    return np.asarray(image)


@EVERY
@SIZES
@DRAWN
def test_what_a_mask_was_drawn_on_is_found(photos, orientation, height, drawn):
    _, image, mask = photos(orientation, drawn, height)
    assert drawn_on(image, mask) == drawn


@EVERY
@SIZES
@DRAWN
def test_the_corrected_copy_keeps_image_and_mask_together(
    photos, tmp_path, orientation, height, drawn
):
    spec, image, mask = photos(orientation, drawn, height)
    pixels = stored(image)
    result = repair(lint(spec), tmp_path / "fixed")
    assert not result.left_out
    copy = load_dataset(str(result.config))
    sample = FolderDataset(copy, "train")[0]
    np.testing.assert_array_equal(sample.mask, mask)
    expected = TURNS[orientation](pixels) if drawn == "upright" else pixels
    np.testing.assert_array_equal(sample.image, expected)
    assert not codes(copy)
    check_dataset(copy)


@EVERY
@SIZES
def test_lint_and_training_agree_on_masks_of_the_stored_pixels(photos, orientation, height):
    spec, _, mask = photos(orientation, "stored", height)
    assert codes(spec) == {"exif-contradicts"}
    with pytest.raises(InputError, match="masks_drawn_on: stored"):
        check_dataset(spec)
    said = spec.model_copy(update={"masks_drawn_on": "stored"})
    assert codes(said) == {"image-rotated"}
    assert not check_dataset(said).warnings
    sample = FolderDataset(said, "train")[0]
    assert sample.image.shape[:2] == sample.mask.shape == mask.shape
    assert planned_bytes(FolderDataset(said, "train"), None) == 4 * 4 * mask.size


@EVERY
@SIZES
def test_lint_and_training_agree_on_masks_of_the_upright_image(photos, orientation, height):
    spec, _, _ = photos(orientation, "upright", height)
    assert codes(spec) == {"image-rotated"}
    assert not check_dataset(spec).warnings


def test_the_stored_pixels_are_read_where_the_spec_says_so(photos):
    spec, image, mask = photos(6, "stored", 64, masks_drawn_on="stored")
    np.testing.assert_array_equal(FolderDataset(spec, "train")[0].image, stored(image))
    np.testing.assert_array_equal(FolderDataset(spec, "train")[0].mask, mask)


@pytest.mark.parametrize("orientation", [3, 2])
def test_what_cannot_be_known_is_never_turned_in_silence(photos, tmp_path, orientation):
    spec, image, mask = photos(orientation, "stored", 64)
    Image.fromarray(np.zeros_like(mask)).save(FolderDataset(spec, "train").pairs[0].mask)
    assert codes(spec) == {"exif-unclear"}
    (warning,) = check_dataset(spec).warnings
    assert "train_00000" in warning
    result = repair(lint(spec), tmp_path / "fixed")
    assert list(result.left_out) == ["images/train/train_00000.jpg"]
    for drawn, turn in (("stored", lambda pixels: pixels), ("upright", TURNS[orientation])):
        said = spec.model_copy(update={"masks_drawn_on": drawn})
        assert not check_dataset(said).warnings
        result = repair(lint(said), tmp_path / drawn)
        assert not result.left_out
        copied = load_dataset(str(result.config))
        np.testing.assert_array_equal(FolderDataset(copied, "train")[0].image, turn(stored(image)))


def test_a_nearly_square_mask_of_the_stored_pixels_is_not_resized(photos, tmp_path):
    spec, image, mask = photos(6, "stored", 95)
    result = repair(lint(spec), tmp_path / "fixed")
    np.testing.assert_array_equal(read_ids(tmp_path / "fixed/masks/train/train_00000.png"), mask)
    np.testing.assert_array_equal(
        read_image(tmp_path / "fixed/images/train/train_00000.png"), stored(image)
    )
    assert not result.left_out


@EVERY
def test_tiffs_are_turned_once(tmp_path, orientation):
    """Pillow turns TIFFs when it decodes them, and no other format."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    for suffix in ("tif", "png"):
        path = tmp_path / f"image.{suffix}"
        Image.fromarray(pixels).save(path, exif=exif(orientation))
        upright = TURNS[orientation](pixels)
        np.testing.assert_array_equal(read_image(path), upright)
        assert image_size(path) == upright.shape[:2]
        np.testing.assert_array_equal(read_image(path, upright=False), pixels)
        assert image_size(path, upright=False) == (6, 4)
        mask = tmp_path / f"mask.{suffix}"
        Image.fromarray(pixels[..., 0]).save(mask, exif=exif(orientation))
        np.testing.assert_array_equal(read_ids(mask), pixels[..., 0])


@EVERY
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@DRAWN
def test_detectron2_reads_what_training_reads(
    photos, orientation, suffix, drawn, monkeypatch, tmp_path
):
    pytest.importorskip("detectron2")
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data import detection_utils as utils

    from encoder_ablations.data.detectron2 import register_datasets

    spec, _, _ = photos(orientation, drawn, 64, suffix, masks_drawn_on=drawn)
    names = register_datasets(spec)
    try:
        record = DatasetCatalog.get(names[0])[0]
        image = utils.read_image(record["file_name"], format="RGB")
        utils.check_image_size(record, image)
        sample = FolderDataset(spec, "train")[0]
        np.testing.assert_array_equal(image, sample.image)
        np.testing.assert_array_equal(utils.read_image(record["sem_seg_file_name"]), sample.mask)
    finally:
        for name in names:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
