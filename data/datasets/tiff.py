"""What the header of a TIFF says, of files that Pillow cannot open although nothing is wrong with them."""

import struct
import warnings
from pathlib import Path

from PIL import ExifTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from encoder_ablations.utils.texts import plural

_KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floating-point numbers"}


def tiff_content(path: Path) -> str | None:
    """In words, such as "4 bands of 16-bit unsigned integers".

    None of what is no TIFF, one without a sound header, and one of few bands of 8 bits, which Pillow does know.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about tags that are cut off
        head = file.read(8)
        try:
            tags = ImageFileDirectory_v2(
                head + file.read(8) if head[2:3] == b"+" else head
            )  # BigTIFF's, of version 43
            file.seek(tags.next)
            tags.load(file)
            bits = tags[ExifTags.Base.BitsPerSample]
        except (SyntaxError, struct.error, KeyError, IndexError, OverflowError):
            return None
    bits = bits[0] if isinstance(bits, tuple) else bits
    bands = tags.get(ExifTags.Base.SamplesPerPixel, 1)
    if bits <= 8 and bands <= 4:
        return None
    kind = tags.get(ExifTags.Base.SampleFormat, 1)
    return f"{plural(bands, 'band')} of {bits}-bit {_KINDS.get(kind[0] if isinstance(kind, tuple) else kind, 'numbers')}"
