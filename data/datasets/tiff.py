"""What the header of a TIFF says, for sound files that Pillow cannot open."""

import struct
import warnings
from pathlib import Path

from PIL import ExifTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from encoder_ablations.utils.texts import plural

_KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floating-point numbers"}


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
