"""Sound TIFFs that Pillow cannot open are told from damaged ones; JPEGs have Pillow's pixels."""

import numpy as np
import pytest
from PIL import Image
from planted import save, write_deep_tiff

from encoder_ablations.data.datasets.formats import decode_jpeg, tiff_content
from encoder_ablations.data.datasets.reading import (
    FileProblem,
    image_size,
    is_upright,
    read_ids,
    read_image,
)
from encoder_ablations.data.intake.layouts.recognition import propose
from encoder_ablations.experiments.cli import main

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # Pillow's, about what it makes no sense of
PIXELS = np.random.default_rng(0).integers(0, 3000, (8, 9, 4))


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (False, ">"), (True, "<")])
@pytest.mark.parametrize(("bands", "kind", "said"), [
    (3, np.uint16, "3 bands of 16-bit unsigned integers"),
    (4, np.uint16, "4 bands of 16-bit unsigned integers"),
    (4, np.float32, "4 bands of 32-bit floating-point numbers"),
    (2, np.int16, "2 bands of 16-bit signed integers"),
])  # fmt: skip
def test_a_sound_header_is_put_into_words(tmp_path, big, order, bands, kind, said):
    path = write_deep_tiff(tmp_path / "a.tif", PIXELS[..., :bands].astype(kind), order, big)
    assert tiff_content(path) == said
    for read in (read_image, image_size, read_ids):
        with pytest.raises(
            FileProblem, match=f"a.tif is a TIFF of {said}, .*ablate tile FOLDER --range"
        ) as caught:
            read(path)
        assert caught.value.rule == "tiff-bands"
    assert is_upright(path), "which 'ablate tile' asks first"


def test_the_files_of_these_tests_are_what_gdal_takes_them_for(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    for big in (False, True):
        path = write_deep_tiff(tmp_path / "a.tif", PIXELS.astype(np.uint16), ">", big)
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read().transpose(1, 2, 0), PIXELS)


@pytest.mark.parametrize("length", [2, 4, 7, 9, 40, 100])
def test_a_damaged_beginning_stays_a_damaged_beginning(tmp_path, length):
    path = write_deep_tiff(tmp_path / "a.tif", PIXELS.astype(np.uint16))
    path.write_bytes(path.read_bytes()[:length])
    assert tiff_content(path) is None
    with pytest.raises(FileProblem, match="beginning is damaged"):
        read_image(path)


def test_init_says_what_to_do_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ids = PIXELS[..., 0] % 2
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "d" / kind / split).mkdir(parents=True)
        for name in "12":
            write_deep_tiff(tmp_path / f"d/images/{split}/{name}.tif", PIXELS.astype(np.uint16))
            save(tmp_path / f"d/masks/{split}/{name}.tif", ids.astype(np.uint8))
    before = sorted(tmp_path.rglob("*"))
    assert main(["init", "d"]) == 2
    assert (
        "images/train/1.tif is a TIFF of 4 bands of 16-bit unsigned integers"
        in capsys.readouterr().err
    )
    assert sorted(tmp_path.rglob("*")) == before
    assert len(propose(tmp_path / "d").items) == 4


def as_jpeg(path, size, **options):
    """Save a coarse picture that JPEG compresses well, with noise that it does not."""
    stream = np.random.default_rng(0)
    picture = Image.fromarray(stream.integers(0, 256, (5, 6, 3), np.uint8)).resize(size)
    noise = stream.integers(-20, 21, (size[1], size[0], 3))
    Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8)).save(
        path, "JPEG", **options
    )


def by_pillow(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (160, 120)])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_has_the_pixels_that_pillow_decodes(tmp_path, size, progressive, subsampling):
    path = tmp_path / "image.jpg"
    for quality in (10, 60, 95):
        options = {"quality": quality, "progressive": progressive, "subsampling": subsampling}
        as_jpeg(path, size, **options)
        with Image.open(path) as header:
            np.testing.assert_array_equal(decode_jpeg(path, header), by_pillow(path))


def test_rgb_that_was_never_converted_too(tmp_path):
    as_jpeg(tmp_path / "image.jpg", (40, 30), keep_rgb=True)
    with Image.open(tmp_path / "image.jpg") as header:
        found = decode_jpeg(tmp_path / "image.jpg", header)
    np.testing.assert_array_equal(found, by_pillow(tmp_path / "image.jpg"))


def test_a_truncated_jpeg_is_refused_as_before(tmp_path):
    path = tmp_path / "image.jpg"
    as_jpeg(path, (160, 120))
    path.write_bytes(path.read_bytes()[:-400])
    with Image.open(path) as header:
        assert decode_jpeg(path, header) is None
    with pytest.raises(FileProblem, match="truncated"):
        read_image(path)


def test_other_files_are_left_to_pillow(tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "image.png")
    Image.new("L", (9, 9)).save(tmp_path / "image.jpg")
    Image.new("CMYK", (9, 9)).save(tmp_path / "inks.jpg")
    for name in ("image.png", "image.jpg", "inks.jpg"):
        with Image.open(tmp_path / name) as header:
            assert decode_jpeg(tmp_path / name, header) is None


def test_a_turned_jpeg_is_still_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    as_jpeg(tmp_path / "image.jpg", (60, 40), exif=exif)
    stored = by_pillow(tmp_path / "image.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "image.jpg"), np.rot90(stored, -1))
    np.testing.assert_array_equal(read_image(tmp_path / "image.jpg", upright=False), stored)
