"""Read one image or one mask file, and say in one line what is wrong with it."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from encoder_ablations.data.datasets.formats import decode_jpeg, tiff_content
from encoder_ablations.utils.errors import InputError

_LOSSY_COMPRESSIONS = {"jpeg", "tiff_jpeg", "webp"}
_END_OF_JPEG = b"\xff\xd9"
_ORIENTATION = 0x0112
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of this orientation upright."""
_TURN_BACK = _TURN | {6: _TURN[8], 8: _TURN[6]}
_TURNS = {True: _TURN, False: _TURN_BACK}
"""By whether the image is wanted upright; back again for those that Pillow has turned itself."""
_ON_ITS_SIDE = (5, 6, 7, 8)
_SAVE_AS_8_BITS = "save it as an 8-bit RGB image, or use 'ablate tile FOLDER --range LOW HIGH'."
_DAMAGES = (SyntaxError, ValueError, EOFError, LookupError, OverflowError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files, besides OSError."""
_GRAY_STEP = {2: 85, 4: 17}


class FileProblem(InputError):
    """A file that cannot be used; ``rule`` is a code of ``data/checks/rules.yaml``."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule

    def __reduce__(self) -> tuple[type["FileProblem"], tuple[str, str]]:
        """Return what another process, such as one that loads data, makes the same error of."""
        return FileProblem, (self.rule, str(self))


class Geometry(NamedTuple):
    """An image's sizes, (H, W): as stored, and as its EXIF data turn it.

    ``orientation`` is 1..8, 1 = upright.
    """

    stored: tuple[int, int]
    upright: tuple[int, int]
    orientation: int

    def size(self, upright: bool) -> tuple[int, int]:
        """Return one of the sizes."""
        if upright:
            return self.upright
        return self.stored


def read_image(path: Path, upright: bool = True) -> np.ndarray:
    """Return H×W×3 uint8, RGB.

    Grey levels are repeated, transparency is dropped, 16-bit grey levels are divided by 257.

    Args:
        path: the file.
        upright: apply the orientation in the file's EXIF data; False keeps the pixels as they are
            stored.

    Raises:
        InputError: the file is missing, damaged or truncated, or holds numbers without a known
            range.
    """
    with opened(path) as file:
        as_stored = not (upright and _orientation(file) > 1)
        if as_stored and (pixels := decode_jpeg(path, file)) is not None:
            return pixels
        image = _turned(file, upright)
        if image.mode.startswith("I"):
            return _from_16_bits(path, np.asarray(image))
        if image.mode == "F":
            raise FileProblem(
                "image-float", f"{path} holds floating-point numbers; {_SAVE_AS_8_BITS}"
            )
        if image.mode in ("P", "PA"):
            image = image.convert("RGBA")
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.asarray(image)


def _from_16_bits(path: Path, gray: np.ndarray) -> np.ndarray:
    """Return grey levels 0..65535 as H×W×3 uint8."""
    if gray.min() < 0 or gray.max() > 65535:
        raise FileProblem(
            "image-range", f"{path} holds 32-bit numbers beyond 0..65535; {_SAVE_AS_8_BITS}"
        )
    levels = ((gray.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def _turned(image: Image.Image, upright: bool) -> Image.Image:
    """Return the decoded image upright, or as stored."""
    # Pillow itself turns TIFFs when it decodes them, and no other format
    if upright == (image.format == "TIFF"):
        return image
    orientation = _orientation(image)
    image.load()
    if orientation == 1:
        return image
    return image.transpose(_TURNS[upright][orientation])


def _orientation(image: Image.Image) -> int:
    """Return 1..8, before the image is decoded; 1 where the file says nothing, or nonsense."""
    orientation: int = image.getexif().get(_ORIENTATION, 1)
    if orientation in _TURN:
        return orientation
    return 1


def geometry(path: Path) -> Geometry:
    """Return an image's sizes and orientation, from the file's header alone."""
    with opened(path) as image:
        orientation = _orientation(image)
        stored = (image.height, image.width)
        # in some versions of Pillow a TIFF's size is the upright one
        if isinstance(image, TiffImageFile):
            stored = (int(image.tag_v2[IMAGELENGTH]), int(image.tag_v2[IMAGEWIDTH]))
    upright = stored
    if orientation in _ON_ITS_SIDE:
        upright = stored[::-1]
    return Geometry(stored, upright, orientation)


def image_size(path: Path, upright: bool = True) -> tuple[int, int]:
    """Return (H, W) of :func:`read_image`'s result, from the file's header alone."""
    return geometry(path).size(upright)


def is_upright(path: Path) -> bool:
    """Whether EXIF data do not turn an image; files that cannot be opened are taken as they are."""
    try:
        return geometry(path).orientation == 1
    except FileProblem as problem:
        if problem.rule in ("too-large", "not-an-image", "tiff-bands"):
            return True
        raise


def check_whole(path: Path) -> None:
    """Refuse a truncated or damaged image, without decoding it where its format allows that.

    PNGs have checksums, and a JPEG that ends as it should has been written to its end; anything
    else is decoded.

    Raises:
        InputError: as :func:`read_image`.
    """
    with opened(path) as image:
        if image.format == "PNG":
            image.verify()
            return
        if image.format in ("JPEG", "MPO"):
            with path.open("rb") as file:
                file.seek(-min(path.stat().st_size, 64), 2)
                if _END_OF_JPEG in file.read():
                    return
    read_image(path)


def is_deep(path: Path) -> bool:
    """Whether an image holds 16-bit grey levels, which other readers clip instead of scaling."""
    with opened(path) as image:
        return image.mode.startswith("I")


def read_ids(path: Path) -> np.ndarray:
    """Return the integers stored in a mask file: H×W, of an integer type, before any value map.

    A palette image's ids are its palette indices, as in Pascal VOC; a bilevel image's are 0 and 1.
    EXIF data never turn a mask.

    Raises:
        InputError: the file is missing, damaged, lossy, or not a single channel of integers.
    """
    with opened(path) as file:
        _require_lossless(path, file)
        image = _turned(file, upright=False)
        if image.mode == "F":
            raise FileProblem(
                "mask-float",
                f"{path} holds floating-point numbers; "
                "save class ids as an 8-bit single-channel PNG.",
            )
        if image.mode == "1":
            return np.asarray(image).astype(np.uint8)
        if image.mode not in ("L", "P") and not image.mode.startswith("I"):
            channels = len(image.getbands())
            raise FileProblem(
                "mask-color",
                f"{path} is a colour picture ({image.mode}, {channels} channels); a mask holds one "
                "class id per pixel. Turn the colours into ids and save them as an 8-bit "
                "single-channel PNG.",
            )
        ids = np.asarray(image)
        if file.format == "PNG" and image.mode == "L":
            # Pillow stretches 2- and 4-bit grey levels to 0..255; the ids are the stored levels
            bits = _png_bit_depth(path)
            if bits in _GRAY_STEP:
                ids = ids // _GRAY_STEP[bits]
        return ids


def read_channels(path: Path) -> np.ndarray:
    """Return the colours stored in a lossless file: H×W×3 uint8, RGB.

    Grey levels are repeated, transparency is dropped.

    Raises:
        InputError: the file is missing, damaged, lossy, or holds numbers beyond 8 bits.
    """
    with opened(path) as image:
        _require_lossless(path, image)
        if image.mode == "F" or image.mode.startswith("I"):
            raise FileProblem(
                "mask-format",
                f"{path} holds numbers of more than 8 bits, not colours; "
                "save it as an 8-bit RGB PNG.",
            )
        return np.asarray(_turned(image, upright=False).convert("RGB"))


def _require_lossless(path: Path, image: Image.Image) -> None:
    compression = image.info.get("compression")
    if image.format in ("JPEG", "MPO", "WEBP") or compression in _LOSSY_COMPRESSIONS:
        raise FileProblem(
            "mask-lossy",
            f"{path} is compressed as {image.format}, which changes class ids; "
            "save masks as single-channel PNG.",
        )


def _png_bit_depth(path: Path) -> int:
    """Return the bits of a channel, from the header."""
    with path.open("rb") as file:
        return file.read(25)[24]


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image and read its header; what fails within the block is a :class:`FileProblem`."""
    try:
        with path.open("rb") as file, _decoded(path, file) as image:
            yield image
    except InputError:
        raise
    except OSError as error:
        if error.strerror:
            raise FileProblem("unreadable", f"cannot read {path}: {error.strerror}.") from error
        raise _damaged(path, error) from error
    except _DAMAGES as error:
        raise _damaged(path, error) from error


def _decoded(path: Path, file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError as error:
        if content := tiff_content(path):
            raise FileProblem(
                "tiff-bands",
                f"{path} is a TIFF of {content}, which is read by 'ablate tile' only. "
                "First make 8-bit tiles of the folder: ablate tile FOLDER --range LOW HIGH.",
            ) from error
        raise FileProblem(
            "not-an-image",
            f"{path} is not an image, or its beginning is damaged; replace it or remove it.",
        ) from error
    except Image.DecompressionBombError as error:
        raise FileProblem(
            "too-large",
            f"{path} has too many pixels for one image; cut it into tiles with 'ablate tile'.",
        ) from error


def _damaged(path: Path, error: Exception) -> FileProblem:
    reason = " ".join(str(error).split())
    return FileProblem(
        "damaged", f"{path} is damaged or truncated ({reason}); replace it or remove it."
    )
