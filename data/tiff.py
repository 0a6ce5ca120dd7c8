"""What the header of a TIFF says, of files that Pillow cannot open although nothing is wrong with them.

TIFF 6.0 (Adobe, 1992), sections 2 and 8; BigTIFF has 8-byte offsets.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from encoder_ablations.utils.wording import plural

BITS, BANDS, FORMAT = 258, 277, 339
_KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floating-point numbers"}
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def tiff_content(path: Path) -> str | None:
    """In words, such as "4 bands of 16-bit unsigned integers".

    None of what is no TIFF, one without a sound header, and one of few bands of 8 bits, which Pillow does know.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            tags = _tags(file)
        except (struct.error, KeyError, OverflowError):
            return None
    if tags.get(BITS, 0) <= 8 and tags.get(BANDS, 1) <= 4:
        return None
    kind = _KINDS.get(tags.get(FORMAT, 1), "numbers")
    return f"{plural(tags.get(BANDS, 1), 'band')} of {tags[BITS]}-bit {kind}"


def _tags(file: BinaryIO) -> dict[int, int]:
    """The first number of the three tags above that are there.

    Raises:
        struct.error, KeyError, OverflowError: the file ends early, or is no TIFF.
    """
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}[head[:2]]
    version = struct.unpack_from(f"{order}H", head, 2)[0]
    # offset of the first directory; its count; tag, type, count and value of each entry
    offset, count, entry, place = {42: ("4xI", "H", "HHI4s", 4), 43: ("8xQ", "Q", "HHQ8s", 8)}[version]
    file.seek(struct.unpack_from(f"{order}{offset}", head)[0])
    number = struct.unpack(f"{order}{count}", file.read(struct.calcsize(f"<{count}")))[0]
    tags = {}
    for _ in range(min(number, 1000)):
        tag, kind, length, value = struct.unpack(f"{order}{entry}", file.read(struct.calcsize(f"<{entry}")))
        if tag not in (BITS, BANDS, FORMAT):
            continue
        letter = _TYPES[kind]
        if length * struct.calcsize(f"<{letter}") > place:
            back = file.tell()
            file.seek(struct.unpack(f"{order}{'I' if place == 4 else 'Q'}", value)[0])
            value = file.read(8)
            file.seek(back)
        tags[tag] = struct.unpack_from(f"{order}{letter}", value)[0]
    return tags
