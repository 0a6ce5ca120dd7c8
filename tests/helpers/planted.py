"""Defects of many kinds, each planted into a small sound copy of a dataset."""

import os
import struct
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.spec import DatasetSpec

ORIENTATION = 0x0112


@dataclass
class Copy:
    """A sound dataset that a test may damage: ``images/SPLIT/SCENE_NUMBER.jpg`` and masks;
    ``changes`` to the spec."""

    root: Path
    classes: tuple[str, ...]
    ignore: int
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> DatasetSpec:
        content = {
            "name": "planted",
            "root": str(self.root),
            "classes": self.classes,
            "splits": {"train": "train", "val": "val"},
            "ignore_ids": (self.ignore,) if self.ignore == 255 else (self.ignore, 255),
            "scene_pattern": "^([^_]+)_",
        }
        return DatasetSpec.model_validate(content | self.changes)

    def image(self, split: str = "train", number: int = 0) -> Path:
        return sorted((self.root / "images" / split).iterdir())[number]

    def mask(self, split: str = "train", number: int = 0) -> Path:
        return sorted((self.root / "masks" / split).iterdir())[number]

    def masks(self) -> list[Path]:
        return sorted((self.root / "masks").rglob("*.png"))

    def images(self) -> list[Path]:
        return sorted((self.root / "images").rglob("*.jpg"))


@dataclass(frozen=True)
class Defect:
    """``plant`` damages the copy and returns the file that is to be named; ``also`` are rules
    that follow from it."""

    name: str
    rule: str
    plant: Callable[[Copy], Path | None]
    also: frozenset[str]


DEFECTS: list[Defect] = []


def defect(
    rule: str, *also: str
) -> Callable[[Callable[[Copy], Path | None]], Callable[[Copy], Path | None]]:
    def add(plant: Callable[[Copy], Path | None]) -> Callable[[Copy], Path | None]:
        DEFECTS.append(Defect(plant.__name__, rule, plant, frozenset(also)))
        return plant

    return add


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def swap(path: Path, pixels: np.ndarray, suffix: str, **options: Any) -> Path:
    """The file under another suffix."""
    path.unlink()
    return save(path.with_suffix(suffix), pixels, **options)


def rename(
    copy: Copy, number: int, stem: str, mask_stem: str | None = None, split: str = "train"
) -> Path:
    image, mask = copy.image(split, number), copy.mask(split, number)
    mask.rename(mask.with_name(f"{mask_stem or stem}.png"))
    return image.rename(image.with_name(f"{stem}.jpg"))


def bomb(side: int = 60000) -> bytes:
    """A PNG of a hundred bytes that says it has billions of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def write_deep_tiff(path: Path, pixels: np.ndarray, order: str = "<", big: bool = False) -> Path:
    """A sound TIFF, or BigTIFF, of H×W×bands numbers of any type, not compressed nor called RGB,
    as GDAL writes it."""
    height, width, bands = pixels.shape
    short, long, at = (("H", "Q", 16), ("H", "I", 8))[not big]
    per_entry, start = ("HHQ", 16 + 8 + 20 * 9 + 8) if big else ("HHI", 8 + 2 + 12 * 9 + 4)
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    bits = struct.pack(f"{order}{bands}H", *[8 * pixels.itemsize] * bands)
    kinds = struct.pack(f"{order}{bands}H", *[kind] * bands)
    data = start + len(bits) + len(kinds)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, bands, start),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
    ]
    tags += [
        (273, 4, 1, data),
        (277, 3, 1, bands),
        (278, 4, 1, height),
        (339, 3, bands, start + len(bits)),
    ]
    head = (
        struct.pack(f"{order}2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, at)
        if big
        else struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, at)
    )
    body = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags))
    room = 8 if big else 4
    for tag, form, count, value in tags:
        letter = {3: short, 4: "I"}[form]
        shown = struct.pack(f"{order}{letter if count == 1 else long}", value).ljust(room, b"\0")
        if form == 3 and 1 < count <= room // 2:  # few numbers stand in the entry itself
            shown = (bits if tag == 258 else kinds).ljust(room, b"\0")
        body += struct.pack(f"{order}{per_entry}", tag, form, count) + shown
    path.write_bytes(
        head
        + body
        + bytes(room)
        + bits
        + kinds
        + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    )
    return path


def index(copy: Copy, lines: list[str]) -> Path:
    path = copy.root / "train.txt"
    path.write_text("\n".join(lines))
    copy.changes["splits"] = {"train": "train.txt", "val": "val"}
    return path


def stems(copy: Copy) -> list[str]:
    return [path.stem for path in sorted((copy.root / "images/train").iterdir())]


@defect("mask-missing")
def mask_removed(copy):
    copy.mask().unlink()
    return copy.image()


@defect("image-missing")
def image_removed(copy):
    copy.image().unlink()
    return copy.mask()


@defect("stem-twice")
def two_images(copy):
    return save(copy.image().with_suffix(".png"), read(copy.image()))


@defect("stem-twice")
def two_masks(copy):
    return save(copy.mask().with_suffix(".tif"), read(copy.mask()))


@defect("link-broken")
def link_to_nowhere(copy):
    path = copy.image()
    path.unlink()
    path.symlink_to("/nowhere/at/all.jpg")
    return path


@defect("link-broken")
def link_to_itself(copy):
    path = copy.mask()
    path.unlink()
    path.symlink_to(path)
    return path


@defect("not-a-file")
def folder_called_like_a_mask(copy):
    path = copy.mask()
    path.unlink()
    path.mkdir()
    return path


@defect("not-a-file")
def pipe_called_like_an_image(copy):
    path = copy.image()
    path.unlink()
    os.mkfifo(path)
    return path


@defect("file-empty")
def empty_image(copy):
    copy.image().write_bytes(b"")
    return copy.image()


@defect("file-empty")
def empty_mask(copy):
    copy.mask().write_bytes(b"")
    return copy.mask()


@defect("name-mismatch")
def names_of_other_case(copy):
    return rename(copy, 0, "a_Frame", "a_frame")


@defect("name-mismatch", "name-odd")
def names_of_other_unicode_form(copy):
    return rename(copy, 0, "a_é", unicodedata.normalize("NFD", "a_é"))


@defect("name-odd")
def decomposed_name(copy):
    return rename(copy, 0, unicodedata.normalize("NFD", "a_é"))


@defect("name-odd")
def undecodable_name(copy):
    return rename(copy, 0, os.fsdecode(b"a_\xff\xfe"))


@defect("name-odd")
def name_of_two_lines(copy):
    return rename(copy, 0, "a_1\n2")


@defect("name-case")
def names_that_differ_in_case(copy):
    rename(copy, 0, "a_FRAME")
    return rename(copy, 1, "a_frame")


@defect("unused-file")
def gif_among_the_images(copy):
    return save(copy.root / "images/train/a_9.gif", read(copy.mask()))


@defect("unused-file")
def array_among_the_masks(copy):
    path = copy.root / "masks/train/a_9.npy"
    np.save(path, read(copy.mask()))
    return path


@defect("unused-folder")
def images_one_level_too_deep(copy):
    folder = copy.root / "images/train/more"
    folder.mkdir()
    save(folder / "a_9.png", read(copy.image()))
    return folder


@defect("folder-missing")
def no_masks_of_a_split(copy):
    return (copy.root / "masks/val").rename(copy.root / "masks/validation").with_name("val")


@defect("split-empty")
def empty_split(copy):
    for path in [*(copy.root / "images/val").iterdir(), *(copy.root / "masks/val").iterdir()]:
        path.unlink()
    return copy.root / "images/val"


@defect("index-unreadable")
def no_index_file(copy):
    path = index(copy, [])
    path.unlink()
    return path


@defect("index-unreadable")
def empty_index_file(copy):
    return index(copy, ["", "  "])


@defect("index-unreadable")
def index_file_of_another_encoding(copy):
    path = index(copy, [])
    path.write_bytes(b"a_\xff\xfe\n")
    return path


@defect("index-twice")
def stem_listed_twice(copy):
    return index(copy, [*stems(copy), stems(copy)[0]])


@defect("index-escape")
def index_line_that_leads_out(copy):
    return index(copy, [*stems(copy), "../../secret"])


@defect("image-missing")
def stem_listed_in_vain(copy):
    index(copy, [*stems(copy), "a_99"])
    return copy.root / "images/a_99"


@defect("not-an-image")
def text_called_image(copy):
    copy.image().write_text("<html>404 not found</html>")
    return copy.image()


@defect("damaged")
def truncated_image(copy):
    copy.image().write_bytes(copy.image().read_bytes()[:-400])
    return copy.image()


@defect("damaged")
def truncated_mask(copy):
    copy.mask().write_bytes(copy.mask().read_bytes()[:-60])
    return copy.mask()


@defect("damaged")
def flipped_byte_in_a_mask(copy):
    content = bytearray(copy.mask().read_bytes())
    content[content.index(b"IDAT") + 30] ^= 0x55
    copy.mask().write_bytes(content)
    return copy.mask()


@defect("too-large")
def decompression_bomb(copy):
    path = copy.image()
    path.unlink()
    path.with_suffix(".png").write_bytes(bomb())
    return path.with_suffix(".png")


@defect("too-large")
def decompression_bomb_as_mask(copy):
    copy.mask().write_bytes(bomb())
    return copy.mask()


@defect("format-differs")
def png_called_jpg(copy):
    return save(copy.image(), read(copy.image()), format="PNG")


@defect("image-float")
def image_of_floats(copy):
    return swap(copy.image(), read(copy.image())[..., 0].astype(np.float32), ".tif")


@defect("image-range")
def image_of_large_numbers(copy):
    return swap(copy.image(), read(copy.image())[..., 0].astype(np.int32) * 100000, ".tif")


@defect("image-dim", "image-mode")
def twelve_bits_in_sixteen(copy):
    return swap(copy.image(), read(copy.image())[..., 0].astype(np.uint16) * 16, ".png")


@defect("image-alpha")
def transparent_image(copy):
    pixels = read(copy.image())
    return swap(
        copy.image(),
        np.dstack([pixels, np.where(pixels[..., :1] > 100, 0, 255).astype(np.uint8)]),
        ".png",
    )


@defect("image-frames")
def several_frames(copy):
    pixels = read(copy.image())
    copy.image().unlink()
    path = copy.mask().name.replace(".png", ".tif")
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    frames[0].save(copy.root / "images/train" / path, save_all=True, append_images=frames[1:])
    return copy.root / "images/train" / path


@defect("image-rotated")
def image_upside_down_in_exif(copy):
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    return save(copy.image(), read(copy.image())[::-1, ::-1], exif=exif)


@defect("exif-contradicts")
def image_upside_down_in_exif_and_its_mask_not(copy):
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    return save(copy.image(), read(copy.image()), exif=exif)


@defect("exif-unclear", "mask-constant")
def image_upside_down_in_exif_without_borders(copy):
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    save(copy.mask(), np.zeros_like(read(copy.mask())))
    return save(copy.image(), read(copy.image()), exif=exif)


@defect("image-constant")
def black_image(copy):
    return save(copy.image(), np.zeros_like(read(copy.image())))


@defect("image-small", "mask-constant")
def tiny_pair(copy):
    save(copy.mask(), read(copy.mask())[:24, :24])
    return save(copy.image(), read(copy.image())[:24, :24], quality=95)


@defect("image-mode")
def gray_image(copy):
    return save(copy.image(), read(copy.image())[..., 1])


@defect("mask-lossy")
def jpeg_mask(copy):
    return swap(copy.mask(), read(copy.mask()), ".jpg")


@defect("mask-lossy")
def jpeg_mask_called_png(copy):
    return save(copy.mask(), read(copy.mask()), format="JPEG")


@defect("mask-float")
def mask_of_floats(copy):
    return swap(copy.mask(), read(copy.mask()).astype(np.float32), ".tif")


@defect("mask-color")
def mask_in_colors(copy):
    return save(
        copy.mask(),
        np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)[read(copy.mask())],
    )


@defect("mask-color")
def mask_with_transparency(copy):
    mask = read(copy.mask())
    return save(copy.mask(), np.dstack([mask, np.full_like(mask, 255)]))


@defect("mask-ids")
def unknown_id(copy):
    mask = read(copy.mask()).copy()
    mask[:5, :5] = 77
    return save(copy.mask(), mask)


@defect("mask-ids")
def unknown_id_of_16_bits(copy):
    return save(copy.mask(), read(copy.mask()).astype(np.uint16) + 300)


@defect("mask-ids")
def negative_ids(copy):
    return swap(copy.mask(), read(copy.mask()).astype(np.int32) - 1, ".tif")


@defect("mask-interpolated")
def mask_resized_with_interpolation(copy):
    mask = Image.fromarray(np.where(read(copy.mask()) == 0, 0, 255).astype(np.uint8))
    small = mask.resize((mask.width // 2, mask.height // 2), Image.Resampling.BICUBIC)
    return save(copy.mask(), np.asarray(small.resize(mask.size, Image.Resampling.BICUBIC)))


@defect("mask-rotated")
def mask_upside_down_in_exif(copy):
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    return save(copy.mask(), read(copy.mask()), exif=exif)


@defect("mask-frames")
def mask_of_several_frames(copy):
    frames = [Image.fromarray(read(copy.mask()))] * 2
    copy.mask().unlink()
    path = copy.root / "masks/train" / f"{copy.image().stem}.tif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


@defect("mask-palette")
def shuffled_palette(copy):
    colors = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
    for path in copy.masks():
        with_palette(path, read(path), colors)
    count = len(copy.classes)
    turned = colors.copy()
    turned[:count] = np.roll(colors[:count], 1, axis=0)
    mask = read(copy.mask())
    return with_palette(
        copy.mask(), np.where(mask < count, (mask + 1) % count, mask).astype(np.uint8), turned
    )


def with_palette(path: Path, ids: np.ndarray, colors: np.ndarray) -> Path:
    image = Image.fromarray(ids)
    image.putpalette(colors.ravel().tolist())
    image.save(path)
    return path


@defect("mask-binary")
def binary_mask(copy):
    return save(copy.mask(), np.where(read(copy.mask()) == 0, 0, 255).astype(np.uint8))


@defect("mask-unlabelled")
def unlabelled_mask(copy):
    return save(copy.mask(), np.full_like(read(copy.mask()), copy.ignore))


@defect("mask-constant")
def mask_of_one_class(copy):
    return save(copy.mask(), np.zeros_like(read(copy.mask())))


@defect("size-differs")
def smaller_mask(copy):
    return save(copy.mask(), read(copy.mask())[::2, ::2])


@defect("size-differs")
def mask_on_its_side(copy):
    return save(copy.mask(), np.rot90(read(copy.mask())))


@defect("off-by-one", "mask-ids", "mask-constant", "mask-unlabelled", "class-absent")
def ids_that_start_at_one(copy):
    for path in copy.masks():
        mask = read(path)
        save(path, np.where(mask < len(copy.classes), mask + 1, 255).astype(np.uint8))
    copy.changes["ignore_ids"] = (255,)


@defect("tiff-bands")
def image_of_16_bits_and_three_bands(copy):
    path = copy.image()
    deep = read(path).astype(np.uint16) * 257
    path.unlink()
    return write_deep_tiff(path.with_suffix(".tif"), deep)


@defect(
    "single-class",
    "mask-constant",
    "mask-unlabelled",
    "mask-repeated",
    "mostly-unlabelled",
    "class-absent",
)
def masks_of_0_and_255(copy):
    for path in copy.masks():
        save(path, np.where(read(path) == read(path).min(), 0, 255).astype(np.uint8))


@defect("class-unseen")
def class_of_validation_only(copy):
    copy.changes["classes"] = (*copy.classes, "dog")
    copy.changes["ignore_ids"] = (255, 99)
    for path in copy.masks():
        mask = np.where(read(path) == copy.ignore, 99, read(path)).astype(np.uint8)
        mask[:4, :4] = len(copy.classes) if path.parent.name == "val" else mask[:4, :4]
        save(path, mask)


@defect("class-absent")
def class_of_no_mask(copy):
    copy.changes["classes"] = (*copy.classes, "dog")
    copy.changes["ignore_ids"] = (255, 99)
    for path in copy.masks():
        save(path, np.where(read(path) == copy.ignore, 99, read(path)).astype(np.uint8))


@defect("class-imbalance", "class-absent")
def class_of_one_pixel(copy):
    class_of_no_mask(copy)
    mask = read(copy.mask()).copy()
    mask[0, 0] = len(copy.classes)
    save(copy.mask(), mask)


@defect("mostly-unlabelled")
def splits_without_labels(copy):
    for path in copy.masks():
        mask = read(path).copy()
        mask[::3] = copy.ignore
        mask[1::3] = copy.ignore
        save(path, mask)


@defect("image-leaked", "mask-repeated")
def training_image_in_validation(copy):
    (copy.root / "masks/val/v_9.png").write_bytes(copy.mask().read_bytes())
    return save(copy.root / "images/val/v_9.png", read(copy.image()))


@defect("near-duplicate", "mask-repeated")
def training_image_compressed_again_in_validation(copy):
    (copy.root / "masks/val/v_9.png").write_bytes(copy.mask().read_bytes())
    brighter = np.clip(read(copy.image()) * 1.1 + 3, 0, 255).astype(np.uint8)
    return save(copy.root / "images/val/v_9.jpg", brighter, quality=60)


@defect("image-repeated")
def image_twice_in_a_split(copy):
    (copy.root / "masks/train/a_99.png").write_bytes(copy.mask().read_bytes())
    (copy.root / "images/train/a_99.jpg").write_bytes(copy.image().read_bytes())
    return copy.root / "images/train/a_99.jpg"


@defect("masks-contradict")
def image_with_two_masks(copy):
    save(copy.root / "masks/train/a_99.png", read(copy.mask())[::-1])
    (copy.root / "images/train/a_99.jpg").write_bytes(copy.image().read_bytes())
    return copy.root / "images/train/a_99.jpg"


@defect("mask-repeated")
def mask_of_another_image(copy):
    copy.mask("train", 1).write_bytes(copy.mask("train", 0).read_bytes())
    return copy.mask("train", 1)


@defect("scene-leaked")
def scene_in_two_splits(copy):
    rename(copy, 0, f"{copy.image().stem.split('_')[0]}_900", split="val")


@defect("scene-likely")
def frames_of_one_video_in_two_splits(copy):
    copy.changes["scene_pattern"] = None
    for split, count, first in (("train", 10, 0), ("val", 4, 100)):
        files = [copy.image(split, number) for number in range(count)]
        for number, image in enumerate(files):
            mask = copy.root / "masks" / split / f"{image.stem}.png"
            for path in (image, mask):
                path.rename(path.with_name(f"video{number % 2}_{first + number:04d}{path.suffix}"))


@defect("class-unnamed")
def classes_without_names(copy):
    copy.changes["classes"] = tuple(f"class_{number}" for number in range(len(copy.classes)))


@defect("scene-unnamed")
def name_without_scene(copy):
    return rename(copy, 0, "frame")


@defect("unusual-pixels")
def night(copy):
    for path in copy.images():
        save(path, read(path) // 12, quality=98)
