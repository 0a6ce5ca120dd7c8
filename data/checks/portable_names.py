"""Names of files that survive a copy to another system."""

import re
import unicodedata

UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
"""Letters that some system does not allow in names."""
_UNDECODED = re.compile(r"[\ud800-\udfff]")
"""What Python reads for bytes that are not UTF-8."""
_LOOSE_END = re.compile(r"^\s|[\s.]\Z")


def name_problem(stem: str) -> str:
    """Return why a stem will not survive a copy to another system; "" when it will."""
    problems = {
        "not UTF-8": _UNDECODED.search(stem),
        "letters composed of two characters (Unicode NFD), as macOS writes them": (
            not unicodedata.is_normalized("NFC", stem)
        ),
        "a space or a dot at an end": _LOOSE_END.search(stem),
        'a control character or one of < > : " | ? * \\': UNSAFE.search(stem),
    }
    return next((problem for problem, found in problems.items() if found), "")


def plain_name(stem: str) -> str:
    """Return a name in one case and Unicode form, without spaces around it."""
    return unicodedata.normalize("NFKC", stem).casefold().strip()


def longer_name(stem: str, names: list[str]) -> str:
    """Return the first name that begins like ``stem``, such as ``a_mask`` for ``a``; "" if none."""
    beginning = re.compile(rf"{re.escape(stem)}(?![^\W_])")
    return next(filter(beginning.match, names), "")
