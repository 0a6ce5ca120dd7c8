"""Names of classes: what is wrong with a list of them, and which of them nobody gave."""

import re
from collections.abc import Sequence

from encoder_ablations.utils.errors import InputError

_INVENTED = re.compile(r"(?i)(class|label|category|id)?[ _-]?\d+|colou?r_[0-9a-f]{6}")
"""``class_3``, ``3``, ``color_ff0000``: an id or a colour instead of a name."""


def names_problem(names: Sequence[object]) -> str | None:
    """Return what is wrong with class names in id order; None where each is there and stands once."""
    empty = [
        str(number)
        for number, name in enumerate(names)
        if not isinstance(name, str) or not name.strip()
    ]
    if empty:
        return f"the name of class {', '.join(empty[:5])} is empty; give every class a name (counted from 0)"
    plain = [str(name).strip() for name in names]
    twice = sorted({name for name in plain if plain.count(name) > 1})
    if twice:
        return f"every class needs a name of its own; {', '.join(twice[:5])} stands twice"
    return None


def require_names(names: Sequence[object], source: str) -> None:
    """
    Args:
        source: begins the message: the file and the key, or the option.

    Raises:
        InputError: a name is empty, or stands twice.
    """
    problem = names_problem(names)
    if problem is not None:
        raise InputError(f"{source}: {problem}.")


def invented_names(names: Sequence[str]) -> list[str]:
    """Names that say nothing but an id or a colour."""
    return [name for name in names if _INVENTED.fullmatch(name.strip())]
