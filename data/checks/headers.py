"""What a file says about itself before it is decoded, and what is odd about that."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.checks.facts import PairFacts
from encoder_ablations.data.datasets.reading import FileProblem, opened
from encoder_ablations.utils.errors import InputError

ORIENTATION = 0x0112
"""The tag of EXIF data that says how a viewer turns an image."""
SUFFIXES = {
    "JPEG": {".jpg", ".jpeg"},
    "MPO": {".jpg", ".jpeg"},
    "PNG": {".png"},
    "BMP": {".bmp"},
    "DIB": {".bmp"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
}
_EXIF_OF_PNG = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""What PNGs with EXIF data hold one of."""
WITHOUT_COLOR = ("1", "L", "LA")
WITH_OPACITY = ("RGBA", "LA", "PA")


@dataclass(frozen=True)
class Header:
    """What Pillow knows of a file before it decodes it; ``palette`` is index -> colour."""

    format: str
    mode: str
    width: int
    height: int
    frames: int
    orientation: int
    palette: dict[int, tuple[int, ...]]

    @property
    def is_deep(self) -> bool:
        """Whether pixels are integers of more than 8 bits."""
        return self.mode.startswith("I")


def read_header(path: Path) -> Header:
    """Return the header of an image or a mask.

    Raises:
        FileProblem: the file cannot be opened.
    """
    with opened(path) as image:
        colors: list[int] = []
        if image.mode == "P":
            colors = image.getpalette("RGB") or []
        return Header(
            image.format or "",
            image.mode,
            *image.size,
            getattr(image, "n_frames", 1),
            _orientation(path, image),
            dict(enumerate(zip(colors[::3], colors[1::3], colors[2::3], strict=True))),
        )


def _orientation(path: Path, image: Image.Image) -> int:
    """Return the orientation in an image's EXIF data, 1 where there are none."""
    if image.format == "PNG":
        content = path.read_bytes()
        # Pillow decodes the whole image to look for EXIF data behind it
        if not any(mark in content for mark in _EXIF_OF_PNG):
            return 1
    orientation: int = image.getexif().get(ORIENTATION, 1)
    return orientation


def note_image_header(header: Header, facts: PairFacts) -> None:
    """Note what is odd about how an image is stored."""
    path = facts.pair.image
    _note_format(header, path, facts)
    # the further frames of an MPO are previews
    several = header.frames > 1 and header.format != "MPO"
    facts.note("image-frames", path, f"{header.frames} frames", several)
    huge = header.width * header.height > (Image.MAX_IMAGE_PIXELS or np.inf)
    facts.note("very-large", path, in_pixels((header.height, header.width)), huge)
    if header.mode in WITH_OPACITY:
        with opened(path) as stored:
            lowest = int(np.asarray(stored.getchannel("A")).min())
        opacity = f"opacity goes down to {lowest / 2.55:.0f} %"
        facts.note("image-alpha", path, opacity, lowest < 255)


def note_mask_header(header: Header, facts: PairFacts) -> None:
    """Note what is odd about how a mask is stored."""
    path = facts.pair.mask
    _note_format(header, path, facts)
    turn = f"orientation {header.orientation}"
    facts.note("mask-rotated", path, turn, header.orientation > 1)
    facts.note("mask-frames", path, f"{header.frames} frames", header.frames > 1)


def _note_format(header: Header, path: Path, facts: PairFacts) -> None:
    differs = path.suffix.lower() not in SUFFIXES.get(header.format, ())
    facts.note("format-differs", path, f"the content is {header.format}", differs)


def in_pixels(size: tuple[int, int]) -> str:
    """Return (H, W) in words."""
    return f"{size[1]}×{size[0]} pixels"


def require_content(path: Path) -> None:
    """Refuse an empty file."""
    if path.stat().st_size == 0:
        raise FileProblem("file-empty", "")


@contextmanager
def noting_problems(path: Path, facts: PairFacts) -> Iterator[None]:
    """Turn what fails while a file is read into a finding about it."""
    try:
        yield
    except InputError as problem:
        rule = getattr(problem, "rule", "mask-format")
        detail = str(problem).removeprefix(f"{path} ").removeprefix(f"cannot read {path}: ")
        facts.note(rule, path, detail.partition(";")[0].rstrip("."))
    except OSError as error:
        facts.note("unreadable", path, error.strerror or str(error))
    except MemoryError:
        facts.note("too-large", path, "does not fit into memory")
