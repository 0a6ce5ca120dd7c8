"""Fonts for pictures: find one of this machine that has the letters of a text.

matplotlib is imported when a font is looked for, because that takes half a second.
"""

import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from PIL import ImageFont


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont | None:
    """Return a font of ``size`` pixels that has every letter of ``text``; None without one.

    DejaVu Sans, which comes with matplotlib, is preferred: it has most alphabets, but no Chinese,
    Japanese or Korean.
    """
    path = _path_for(frozenset(text))
    return None if path is None else _font(path, size)


def legible(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return the text and a font for it; letters that no font has become question marks."""
    font = font_for(text, size)
    if font is None:
        text = "".join(
            letter if font_for(letter, size) == _font(_default(), size) else "?" for letter in text
        )
    return text, font or _font(_default(), size)


def further_families(texts: Iterable[str]) -> list[str]:
    """Return the fonts, beside the usual one, that matplotlib needs to write all texts."""
    from matplotlib import font_manager

    paths = {_path_for(frozenset(text)) for text in texts} - {None, _default()}
    names = []
    for path in sorted(path for path in paths if path):
        font_manager.fontManager.addfont(path)
        names.append(font_manager.FontProperties(fname=path).get_name())
    return names


@cache
def _path_for(letters: frozenset[str]) -> str | None:
    needed = {ord(letter) for letter in letters if unicodedata.category(letter) not in ("Zs", "Cf")}
    if needed <= _letters(_default()):
        return _default()
    return next((path for path in _others() if needed <= _letters(path)), None)


@cache
def _default() -> str:
    from matplotlib import font_manager

    return font_manager.findfont("DejaVu Sans")


@cache
def _others() -> list[str]:
    """Return this machine's present fonts, upright sans serifs first."""
    from matplotlib import font_manager

    def oddness(path: str) -> tuple[bool, bool, str]:
        name = Path(path).stem.lower()
        odd = any(
            word in name for word in ("bold", "black", "italic", "oblique", "mono", "light", "thin")
        )
        return odd, "sans" not in name and "gothic" not in name, path

    return sorted(font_manager.findSystemFonts(), key=oddness)


@cache
def _letters(path: str) -> frozenset[int]:
    """Return a font's code points; none for a font of bitmaps, which has no free size."""
    from matplotlib.ft2font import FT2Font

    try:
        _font(path, 13)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)
