"""What a file's header says, without decoding the file where that can be saved."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from encoder_ablations.data.checks.headers import ORIENTATION, read_header

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


@pytest.fixture
def decoded(monkeypatch):
    """Collects the files that Pillow decodes."""
    files, load = [], ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: files.append(self) or load(self))
    return files


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def test_pngs_without_exif_data_are_not_decoded(tmp_path, decoded):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    header = read_header(tmp_path / "a.png")
    assert (header.orientation, header.width, header.height) == (1, 30, 40)
    assert decoded == []


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_the_orientation_is_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path, exif=exif_of(6))
    assert read_header(path).orientation == 6


def test_the_orientation_is_read_behind_the_pixels_of_a_png(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    # without the marker with which the EXIF data of JPEGs begin
    body = b"eXIf" + exif_of(8).tobytes().removeprefix(b"Exif\x00\x00")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    content = path.read_bytes()
    end = content.index(b"IEND") - 4
    path.write_bytes(content[:end] + chunk + content[end:])
    assert read_header(path).orientation == 8


def test_the_orientation_is_read_from_the_xmp_of_a_png(tmp_path: Path):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<rdf tiff:Orientation="3"/>')
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    assert read_header(tmp_path / "a.png").orientation == 3
