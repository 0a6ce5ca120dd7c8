"""Tiles hold what the rasters hold, each pixel once; other files are refused with a reason."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from encoder_ablations.data.datasets.pairing import Pair
from encoder_ablations.data.datasets.reading import read_channels, read_ids, read_image
from encoder_ablations.data.datasets.tile_names import (
    ROW_PATTERN,
    SCENE_PATTERN,
    find_scenes,
    tile_id,
)
from encoder_ablations.data.intake import raster
from encoder_ablations.data.intake.raster_reading import Range, Reading
from encoder_ablations.data.intake.tiles import cut, held_ids, outline, stretches
from encoder_ablations.utils.errors import InputError

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

HEIGHT, WIDTH = 70, 101
RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
IDS = RNG.integers(0, 3, (HEIGHT, WIDTH), np.uint8)


def save(path: Path, pixels: np.ndarray, **profile) -> Path:
    """A file as GDAL writes it; ``pixels`` H×W or H×W×bands."""
    bands = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    defaults = {
        "driver": "GTiff",
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": len(bands),
    }
    colors = profile.pop("colormap", None)
    with rasterio.open(path, "w", dtype=str(pixels.dtype), **defaults | profile) as file:
        file.write(bands)
        if colors is not None:
            file.write_colormap(1, colors)
    return path


def cut_pair(
    folder: Path, image: Path, mask: Path, largest: int = 32, scale: Range | None = None
) -> Path:
    cut(Pair("scene", image, mask), folder / "tiles", "train", largest, Reading(scale))
    return folder / "tiles"


def joined(folder: Path, kind: str, read) -> np.ndarray:
    """The raster again, of the tiles that are there; every other pixel stays 99."""
    whole: np.ndarray | None = None
    for path in sorted((folder / kind / "train").iterdir()):
        tile = read(path)
        top, left = (int(part[1:]) for part in path.stem.split("_")[-2:])
        if whole is None:
            whole = np.full((HEIGHT, WIDTH, *tile.shape[2:]), 99, tile.dtype)
        whole[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    assert whole is not None
    return whole


@given(st.integers(1, 5000), st.integers(1, 700))
def test_stretches_cover_a_side_once_and_differ_by_at_most_a_pixel(pixels, largest):
    found = stretches(pixels, largest)
    assert [place for first, last in found for place in range(first, last)] == list(range(pixels))
    lengths = [last - first for first, last in found]
    assert max(lengths) <= largest
    assert max(lengths) - min(lengths) <= 1
    assert len(found) == -(-pixels // largest)


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_tiles_of_an_image_are_the_image(tmp_path, name, mode):
    if mode == "I;16":
        picture = Image.fromarray(RNG.integers(0, 65536, (HEIGHT, WIDTH), np.uint16))
    else:
        picture = Image.fromarray(COLORS).convert(mode)
    image = tmp_path / name
    picture.save(image)
    mask = save(tmp_path / "m.tif", IDS)
    tiles = cut_pair(tmp_path, image, mask)
    assert (
        len(list((tiles / "images" / "train").iterdir()))
        == 3 * 4
        == outline(Pair("scene", image, mask), 32).tiles
    )
    np.testing.assert_array_equal(joined(tiles, "images", read_image), read_image(image))
    np.testing.assert_array_equal(joined(tiles, "masks", read_ids), IDS)


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"tiled": True, "blockxsize": 16, "blockysize": 16},
        {"compress": "lzw"},
        {"interleave": "pixel"},
    ],
)
def test_rasters_of_any_layout(tmp_path, layout):
    infrared = np.concatenate([COLORS, COLORS[..., :1], COLORS[..., 1:]], axis=2)  # six bands
    tiles = cut_pair(
        tmp_path,
        save(tmp_path / "i.tif", infrared, **layout),
        save(tmp_path / "m.tif", IDS, **layout),
    )
    np.testing.assert_array_equal(joined(tiles, "images", read_image), COLORS)
    np.testing.assert_array_equal(joined(tiles, "masks", read_ids), IDS)


def test_colours_that_are_stored_otherwise_become_rgb(tmp_path):
    mask = save(tmp_path / "m.tif", IDS)
    four = np.concatenate([COLORS, COLORS[..., :1]], axis=2)
    smooth = np.stack([np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))] * 3, axis=2).astype(
        np.uint8
    )
    jpeg = {
        "compress": "jpeg",
        "photometric": "YCBCR",
        "tiled": True,
        "blockxsize": 64,
        "blockysize": 64,
    }
    for name, pixels, profile in (("cmyk", four, {"photometric": "CMYK"}), ("ycbcr", smooth, jpeg)):
        image = save(tmp_path / f"{name}.tif", pixels, **profile)
        tiles = cut_pair(tmp_path / name, image, mask)
        found = joined(tiles, "images", read_image).astype(int)
        assert np.abs(found - read_image(image)).max() <= 2


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint16", "float32"])
def test_masks_of_other_integers(tmp_path, dtype):
    ids = IDS.astype(dtype)
    ids[0, 0] = 300
    tiles = cut_pair(tmp_path, save(tmp_path / "i.tif", COLORS), save(tmp_path / "m.tif", ids))
    np.testing.assert_array_equal(joined(tiles, "masks", read_ids), ids.astype(np.uint16))


def test_masks_of_colours_and_palettes_keep_them(tmp_path):
    image = save(tmp_path / "i.tif", COLORS)
    tiles = cut_pair(tmp_path / "rgb", image, save(tmp_path / "rgb.tif", COLORS))
    np.testing.assert_array_equal(joined(tiles, "masks", read_channels), COLORS)
    table = {value: (value, 2 * value, 7, 255) for value in range(100)}
    mask = save(tmp_path / "palette.tif", IDS, colormap=table)
    tiles = cut_pair(tmp_path / "palette", image, mask)
    np.testing.assert_array_equal(joined(tiles, "masks", read_ids), IDS)
    expected = np.stack([IDS, 2 * IDS, np.full_like(IDS, 7)], axis=2)
    np.testing.assert_array_equal(joined(tiles, "masks", read_channels), expected)


def test_a_range_becomes_8_bits(tmp_path):
    numbers = np.full((HEIGHT, WIDTH, 4), 1000, np.uint16)
    numbers[0, 0] = [0, 200, 3200, 0]
    numbers[0, 1] = [201, 1700, 65535, 0]
    mask = save(tmp_path / "m.tif", IDS)
    tiles = cut_pair(tmp_path, save(tmp_path / "i.tif", numbers), mask, 128, Range(200, 3200))
    pixels = joined(tiles, "images", read_image)
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert pixels[0, 1].tolist() == [0, 128, 255]  # (1700 - 200) / 3000 · 255 = 127.5, to even
    assert pixels[1, 1].tolist() == [68, 68, 68]
    heights = np.where(IDS == 0, np.nan, IDS).astype(np.float32)
    tiles = cut_pair(tmp_path / "float", save(tmp_path / "f.tif", heights), mask, 128, Range(0, 2))
    np.testing.assert_array_equal(
        joined(tiles, "images", read_image)[..., 0], np.array([0, 128, 255])[IDS]
    )


def refused(folder: Path, image: Path, mask: Path) -> str:
    with pytest.raises(InputError) as caught:
        cut_pair(folder, image, mask)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_cut(tmp_path, monkeypatch):
    image, mask = save(tmp_path / "i.tif", COLORS), save(tmp_path / "m.tif", IDS)
    deep = save(tmp_path / "deep.tif", COLORS.astype(np.uint16))
    assert "deep.tif holds 3 bands of uint16" in refused(tmp_path, deep, mask)
    assert "--range" in refused(tmp_path, save(tmp_path / "f.tif", IDS.astype(np.float32)), mask)
    small = save(tmp_path / "small.tif", IDS[:50])
    assert "small.tif has 101×50 pixels" in refused(tmp_path, image, small)
    with pytest.raises(InputError, match="101×50"):
        outline(Pair("scene", image, small), 32)
    negative = IDS.astype(np.int16)
    negative[-1, -1] = -9999
    assert "holds -9999; ids are" in refused(tmp_path, image, save(tmp_path / "n.tif", negative))
    halves = IDS + np.float32(0.5)
    assert "holds 0.5, 1.5, 2.5; ids" in refused(tmp_path, image, save(tmp_path / "h.tif", halves))
    assert "with a loss" in refused(tmp_path, image, save(tmp_path / "j.jpg", IDS, driver="JPEG"))
    lossy = save(tmp_path / "j.tif", IDS, compress="jpeg", tiled=True, blockxsize=64, blockysize=64)
    assert "with a loss" in refused(tmp_path, image, lossy)
    assert "2 bands of uint8" in refused(
        tmp_path, image, save(tmp_path / "two.tif", COLORS[..., :2])
    )
    assert "cannot read" in refused(tmp_path, tmp_path / "nowhere.tif", mask)
    monkeypatch.setattr(raster, "LARGEST_BLOCK", 1000)
    assert "rio convert i.tif tiled.tif --co TILED=YES" in refused(tmp_path, image, mask)


def test_damaged_files(tmp_path):
    image, mask = (
        save(tmp_path / "i.tif", COLORS, compress="deflate"),
        save(tmp_path / "m.tif", IDS),
    )
    content = image.read_bytes()
    for length in (4, 200, len(content) // 2):
        image.write_bytes(content[:length])
        assert "i.tif" in refused(tmp_path / str(length), image, mask)
    image.write_bytes(b"no image at all")
    assert "i.tif cannot be read" in refused(tmp_path, image, mask)


def test_an_image_on_its_side_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLORS).save(tmp_path / "i.jpg", exif=exif)
    assert "upright" in refused(tmp_path, tmp_path / "i.jpg", save(tmp_path / "m.tif", IDS))


def test_scenes_of_tiles():
    two = [tile_id("north/1", 0, 0), tile_id("south", 0, 1024)]
    assert two == ["north__1_y00000_x00000", "south_y00000_x01024"]
    assert find_scenes(two) == SCENE_PATTERN
    assert find_scenes([tile_id("one", 0, 0), tile_id("one", 1024, 0)]) == ROW_PATTERN
    assert find_scenes([*two, "photo"]) is None


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="asks Linux for the largest size of a process"
)
def test_a_raster_of_20000_pixels_is_never_read_whole(tmp_path):
    """1.6 GB of pixels: the whole process stays below a quarter of that."""
    side = 20000
    for name, count in (("i.tif", 3), ("m.tif", 1)):
        profile = {
            "driver": "GTiff",
            "height": side,
            "width": side,
            "count": count,
            "dtype": "uint8",
        }
        tiled = {
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
            "compress": "deflate",
            "SPARSE_OK": True,
        }
        with rasterio.open(tmp_path / name, "w", **profile, **tiled) as file:
            value = np.full((count, 512, 512), 2, np.uint8)
            file.write(value, window=rasterio.windows.Window(10240, 10240, 512, 512))
    program = (
        "import re, sys; from pathlib import Path\n"
        "from encoder_ablations.data.datasets.pairing import Pair\n"
        "from encoder_ablations.data.intake.tiles import cut\n"
        "folder = Path(sys.argv[1])\n"
        "cut(Pair('a', folder / 'i.tif', folder / 'm.tif'), folder, 'train', 1000)\n"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < side * side
    names = sorted(path.name for path in (tmp_path / "masks" / "train").iterdir())
    assert len(names) == 400
    tile = read_ids(tmp_path / "masks" / "train" / "a_y10000_x10000.png")
    assert tile[240 : 240 + 512, 240 : 240 + 512].min() == 2
    assert tile.sum() == 2 * 512 * 512


def test_bands_can_be_chosen(tmp_path):
    four = np.concatenate([COLORS, 255 - COLORS[..., :1]], axis=2)
    image, mask = save(tmp_path / "i.tif", four), save(tmp_path / "m.tif", IDS)
    assert outline(Pair("scene", image, mask), 32).spare_bands == [4]
    for bands in ((4, 3, 2), (4,)):
        folder = tmp_path / str(len(bands))
        cut(Pair("scene", image, mask), folder, "train", 32, Reading(bands=bands))
        found = joined(folder, "images", read_image)
        np.testing.assert_array_equal(
            found, np.broadcast_to(four[..., [band - 1 for band in bands]], found.shape)
        )
    with pytest.raises(InputError, match=r"i\.tif has no band 5; allowed for --bands are 1 to 4"):
        outline(Pair("scene", image, mask), 32, Reading(bands=(1, 2, 5)))


def test_the_numbers_of_an_image_help_to_choose_a_range(tmp_path):
    numbers = np.full((HEIGHT, WIDTH, 3), 700, np.uint16)
    numbers[:35] = 300
    numbers[0, 0], numbers[0, 1], numbers[0, 2] = 20, 9000, 65535
    image = save(tmp_path / "i.tif", numbers, nodata=65535)
    text = refused(tmp_path, image, save(tmp_path / "m.tif", IDS))
    assert "e.g. --range 300 700: in a sample" in text
    assert "20 to 9000" in text
    assert "100 % of the pixels" in text


class CountingSource:
    """An opened raster that counts the pixels of a band that are read."""

    def __init__(self, source):
        self.source = source
        self.pixels = 0

    def __getattr__(self, name):
        return getattr(self.source, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.source.close()

    def read(self, bands=None, window=None, **options):
        height, width = self.source.shape
        if window is not None:
            (top, bottom), (left, right) = window
            height, width = bottom - top, right - left
        self.pixels += height * width
        return self.source.read(bands, window=window, **options)


def test_a_range_is_advised_from_a_bounded_sample_of_blocks(tmp_path, monkeypatch):
    side, block = 1600, 32
    numbers = np.add.outer(np.arange(side), np.arange(side)).astype(np.uint16)
    stored = {"tiled": True, "blockxsize": block, "blockysize": block}
    image = save(tmp_path / "i.tif", np.dstack([numbers] * 3), **stored)
    mask = save(tmp_path / "m.tif", np.zeros((side, side), np.uint8))
    opened, plain_open = [], rasterio.open

    def counting_open(path, *arguments, **options):
        opened.append(CountingSource(plain_open(path, *arguments, **options)))
        return opened[-1]

    monkeypatch.setattr(rasterio, "open", counting_open)
    with pytest.raises(InputError, match=r"sample \(64 of 2500 blocks, 2\.56 %") as caught:
        outline(Pair("scene", image, mask), 512)
    assert opened[0].pixels == 64 * block * block
    # the numbers rise from corner to corner: an even sample holds both ends
    low, high = map(float, str(caught.value).split("--range ")[1].split(":")[0].split())
    assert low < 0.15 * 2 * side
    assert high > 0.85 * 2 * side


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_without_data_are_not_labelled(tmp_path, dtype):
    ignore = 255 if dtype == np.uint8 else 65535
    pixels = COLORS.clip(1)
    pixels[:5], pixels[6, 6, 0] = 0, 0  # in one band only: a dark pixel
    image = save(tmp_path / "i.tif", pixels, nodata=0)
    plain, expected = save(tmp_path / "m.tif", IDS.astype(dtype)), IDS.astype(np.uint16)
    expected[:5] = ignore
    np.testing.assert_array_equal(
        joined(cut_pair(tmp_path / "a", image, plain), "masks", read_ids), expected
    )
    own = save(tmp_path / "own.tif", IDS.astype(dtype), nodata=2)
    assert outline(Pair("scene", image, own), 32).void == f"2 in {own}"
    expected[IDS == 2] = ignore
    np.testing.assert_array_equal(
        joined(cut_pair(tmp_path / "b", image, own), "masks", read_ids), expected
    )
    cut(Pair("scene", image, own), tmp_path / "c", "train", 32, Reading(ignored=()))
    np.testing.assert_array_equal(joined(tmp_path / "c", "masks", read_ids), IDS)
    assert held_ids(own) == {0, 1}
    colors = save(tmp_path / "colors.tif", COLORS, nodata=0)
    assert outline(Pair("scene", image, colors), 32).void == ""
    np.testing.assert_array_equal(
        joined(cut_pair(tmp_path / "d", image, colors), "masks", read_channels), COLORS
    )


@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -9999), ("float32", float("nan"))])
def test_a_number_that_is_no_id_is_none_where_the_mask_says_so(tmp_path, dtype, nodata):
    ids = np.where(IDS == 2, nodata, IDS.astype(float)).astype(dtype)
    mask = save(tmp_path / "m.tif", ids, nodata=nodata)
    tiles = cut_pair(tmp_path, save(tmp_path / "i.tif", COLORS), mask)
    np.testing.assert_array_equal(
        joined(tiles, "masks", read_ids), np.where(IDS == 2, 65535, IDS.astype(int))
    )
    assert held_ids(mask) == {0, 1}
