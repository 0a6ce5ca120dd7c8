import struct
import zlib

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from encoder_ablations.data.datasets.reading import check_whole, image_size, read_ids, read_image
from encoder_ablations.utils.errors import InputError

IDS = np.array([[0, 1, 2], [3, 200, 255]], np.uint8)
ORIENTATION = 0x0112


def gray_png(levels: np.ndarray, bits: int) -> bytes:
    """A PNG of few grey levels, which Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    rows = b""
    for row in levels:
        digits = "".join(format(int(level), f"0{bits}b") for level in row)
        digits += "0" * (-len(digits) % 8)
        rows += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_ids_survive_every_lossless_format(tmp_path, suffix):
    path = tmp_path / f"mask.{suffix}"
    Image.fromarray(IDS).save(path)
    np.testing.assert_array_equal(read_ids(path), IDS)


def test_ids_of_a_palette_are_its_indices(tmp_path):
    image = Image.fromarray(IDS).convert("L")
    image.putpalette([value for index in range(256) for value in (255 - index, 7, index)])
    image.save(tmp_path / "mask.png")
    assert Image.open(tmp_path / "mask.png").mode == "P"
    np.testing.assert_array_equal(read_ids(tmp_path / "mask.png"), IDS)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_ids_of_16_bits(tmp_path, suffix):
    ids = np.array([[0, 300], [65535, 7]], np.uint16)
    Image.fromarray(ids).save(tmp_path / f"mask.{suffix}")
    np.testing.assert_array_equal(read_ids(tmp_path / f"mask.{suffix}"), ids)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_ids_of_few_bits_are_the_stored_levels(tmp_path, bits):
    levels = np.arange(2**bits)[None].repeat(3, axis=0)
    (tmp_path / "mask.png").write_bytes(gray_png(levels, bits))
    np.testing.assert_array_equal(read_ids(tmp_path / "mask.png"), levels)


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        (
            "rgb.png",
            lambda path: Image.fromarray(IDS).convert("RGB").save(path),
            "colour picture .RGB, 3 channels",
        ),
        (
            "alpha.png",
            lambda path: Image.fromarray(IDS).convert("LA").save(path),
            "colour picture .LA, 2 channels",
        ),
        ("jpeg.png", lambda path: Image.fromarray(IDS).save(path, "JPEG"), "compressed as JPEG"),
        (
            "jpeg.tif",
            lambda path: Image.fromarray(IDS).save(path, compression="jpeg"),
            "compressed as TIFF",
        ),
        (
            "float.tif",
            lambda path: Image.fromarray(IDS.astype(np.float32)).save(path),
            "floating-point",
        ),
        ("text.png", lambda path: path.write_text("no image"), "is not an image"),
        ("empty.png", lambda path: path.touch(), "is not an image"),
        ("none.png", lambda path: None, "No such file"),
        ("folder.png", lambda path: path.mkdir(), "Is a directory"),
    ],
)
def test_what_is_no_mask_is_named(tmp_path, name, save, message):
    path = tmp_path / name
    save(path)
    with pytest.raises(InputError, match=message) as caught:
        read_ids(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_image_is_upright_and_its_size_known_from_the_header(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for orientation, expected in ((1, pixels), (3, np.rot90(pixels, 2)), (6, np.rot90(pixels, -1))):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        path = tmp_path / f"{orientation}.png"
        Image.fromarray(pixels).save(path, exif=exif)
        np.testing.assert_array_equal(read_image(path), expected)
        assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr"])
def test_image_of_any_mode_becomes_rgb(tmp_path, mode):
    gray = np.array([[0, 255], [255, 0]], np.uint8)
    image = Image.fromarray(gray).convert("RGB").convert(mode)
    path = tmp_path / ("image.png" if mode not in ("CMYK", "YCbCr") else "image.tif")
    image.save(path)
    np.testing.assert_array_equal(read_image(path), gray[..., None].repeat(3, axis=2))


def test_image_of_16_bits_keeps_its_range(tmp_path):
    Image.fromarray(np.array([[0, 128 * 257, 65535]], np.uint16)).save(tmp_path / "image.png")
    assert read_image(tmp_path / "image.png")[..., 0].tolist() == [[0, 128, 255]]


def test_image_of_floats_is_refused(tmp_path):
    Image.fromarray(IDS.astype(np.float32)).save(tmp_path / "image.tif")
    with pytest.raises(InputError, match="floating-point"):
        read_image(tmp_path / "image.tif")


def test_too_many_pixels_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    Image.fromarray(IDS).save(tmp_path / "image.png")
    with pytest.raises(InputError, match="too many pixels"):
        read_image(tmp_path / "image.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(suffix=st.sampled_from(["png", "jpg", "tif", "bmp", "webp"]), data=st.data())
def test_damaged_files_give_one_clear_line_or_pixels(tmp_path, suffix, data):
    path = tmp_path / f"image.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    content = bytearray(path.read_bytes())
    del content[data.draw(st.integers(1, len(content))) :]
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=2)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    problem = ""
    try:
        assert read_image(path).dtype == np.uint8
    except InputError as error:
        problem = str(error)
    assert not problem or str(path) in problem
    assert "\n" not in problem


def test_half_a_file_is_refused(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        path
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged or truncated"):
        read_image(path)


def test_no_file_stays_open(tmp_path):
    Image.fromarray(IDS).save(tmp_path / "mask.png")
    kept = [
        read_ids(tmp_path / "mask.png"),
        read_image(tmp_path / "mask.png"),
        image_size(tmp_path / "mask.png"),
    ]
    assert len(kept) == 3
    assert not [
        file for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))
    ]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp"])
def test_whole_images_pass_and_truncated_ones_do_not(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        path
    )
    check_whole(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"image\."):
        check_whole(path)


def test_a_changed_byte_in_a_png_is_found(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        path
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or truncated"):
        check_whole(path)


def test_a_jpeg_with_something_after_its_end_is_whole(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes() + b"\0" * 500)
    check_whole(path)
