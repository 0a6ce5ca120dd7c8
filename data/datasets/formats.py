"""What Pillow leaves open: headers of TIFFs that it cannot open, and faster JPEGs."""

import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from encoder_ablations.utils.texts import plural

_KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floating-point numbers"}


_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def decode_jpeg(path: Path, header: Image.Image) -> np.ndarray | None:
    """Return the image in a JPEG as it is stored, H×W×3 uint8, RGB.

    OpenCV takes four fifths of Pillow's time. Pixels are equal, because both decode by
    libjpeg-turbo with its exact transforms, and both refuse the same damaged files.

    Args:
        path: the file.
        header: of the file, as Pillow has opened it.

    Returns:
        None for a damaged file, and for one that is not a JPEG of three colours. Pillow decodes
        these, or says what is wrong.

    Raises:
        OSError: the file cannot be read.
    """
    if (header.format, header.mode) != ("JPEG", "RGB"):
        return None
    content = np.frombuffer(path.read_bytes(), np.uint8)
    pixels: np.ndarray | None = cv2.imdecode(content, _AS_STORED)
    return pixels


def tiff_content(path: Path) -> str | None:
    """Return the bands of a TIFF in words, such as "4 bands of 16-bit unsigned integers".

    None for other files, for damaged headers, and for up to four bands of 8 bits, which Pillow
    reads.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about tags that are cut off
        head = file.read(8)
        try:
            # the header of a BigTIFF, whose version is 43, is twice as long
            if head[2:3] == b"+":
                head += file.read(8)
            tags = ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
            bits = tags[ExifTags.Base.BitsPerSample]
        except (SyntaxError, struct.error, KeyError, IndexError, OverflowError):
            return None
    depth = _first(bits)
    bands = tags.get(ExifTags.Base.SamplesPerPixel, 1)
    if depth <= 8 and bands <= 4:
        return None
    kind = _KINDS.get(_first(tags.get(ExifTags.Base.SampleFormat, 1)), "numbers")
    return f"{plural(bands, 'band')} of {depth}-bit {kind}"


def _first(value: int | tuple[int, ...]) -> int:
    """Return a tag's value, or the first band's where each band has its own."""
    if isinstance(value, tuple):
        return value[0]
    return value
