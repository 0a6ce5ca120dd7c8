"""Numbers, lists and foreign texts in sentences."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

LONGEST = 100
"""Characters of a person's own text that a message repeats."""
LONGEST_WORD = 300
"""Characters of a word, such as a path, that a message shows whole."""
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, line ends, and marks of direction, which reorder the text around them."""


def readable(text: str | Path) -> str:
    """Return a name that any terminal, page and file can hold, on one line.

    Undecodable bytes, control characters and marks of direction become �.
    """
    decodable = str(text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _UNPRINTABLE.sub("�", decodable)


def refuse_unprintable(text: str) -> str:
    """Return a name as it is, if a table, a page and a terminal can show it.

    Raises:
        ValueError: it holds a control character, a line end, a mark of direction, or a byte that is
            no text.
    """
    found = _UNPRINTABLE.search(text)
    if found is not None:
        raise ValueError(
            f"holds the character U+{ord(found.group()):04X}, which tables cannot show; remove it"
        )
    return text


def as_cell(value: object) -> str:
    """Return a value as a readable text on one line, for a table; nothing for None."""
    if value is None:
        return ""
    text = str(value)
    # tables have millions of numbers and plain words, in which there is nothing to replace
    if text.isascii() and text.isprintable():
        return text
    return readable(" ".join(text.replace("\t", " ").splitlines()))


def one_line(message: object) -> str:
    """Return a message readable and on one line, with the middle of very long words left out."""
    return " ".join(map(_without_middle, as_cell(message).split(" ")))


def _without_middle(word: str) -> str:
    if len(word) <= LONGEST_WORD:
        return word
    return f"{word[:LONGEST]}…{word[-LONGEST // 2 :]}"


def shortened(text: object, most: int = LONGEST) -> str:
    """Return a readable text of a person's own for a message, cut after ``most`` characters."""
    plain = readable(str(text))
    if len(plain) <= most:
        return plain
    return f"{plain[:most]}… ({len(plain)} characters)"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units: "4.2 s", "3 min 20 s", "2 d 04 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    whole, minutes = round(seconds), round(seconds / 60)
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60:02d} h"


def data_size(count: float) -> str:
    """Return a number of bytes as MB or GB with three digits: 1300000000 -> "1.30 GB"."""
    value, unit = count / 1e6, "MB"
    if count >= 1e9:
        value, unit = count / 1e9, "GB"
    digits = 2 - (value >= 9.995) - (value >= 99.95)
    return f"{value:.{digits}f} {unit}"


def plural(count: int, word: str, rest: str = "") -> str:
    """Return a count with its noun: "1 seed", "3 seeds", "1 class", "2 classes".

    Args:
        count: how many.
        word: the noun in the singular.
        rest: what agrees with it, singular/plural: "is/are left" -> "1 seed is left",
            "3 seeds are left".
    """
    form = 0 if count == 1 else -1
    ending = "es" if word.endswith("s") else "s"
    noun = word if count == 1 else word + ending
    agreeing = [part.split("/")[form] for part in rest.split()]
    return " ".join([str(count), noun, *agreeing])


def first_names(names: Sequence[object], most: int = 3) -> str:
    """Return the first names, separated by commas, with "…" for those left out."""
    shown = [str(name) for name in names[:most]]
    if len(names) > most:
        shown.append("…")
    return ", ".join(shown)


Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(refuse_unprintable),
]
"""A name that users choose for reports."""
