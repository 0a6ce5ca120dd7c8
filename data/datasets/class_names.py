"""Lists of class names, and what is wrong with them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, TypeVar

from pydantic import AfterValidator

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import refuse_unprintable

Listed = TypeVar("Listed", bound=Iterable[str])
Value = TypeVar("Value")
_INVENTED = re.compile(r"(?i)(class|label|category|id)?[ _-]?\d+|colou?r_[0-9a-f]{6}")
"""``class_3``, ``3``, ``color_ff0000``: an id or a colour instead of a name."""


def names_problem(names: Iterable[object]) -> str | None:
    """Return what is wrong with class names in id order; None if each is a text of its own."""
    plain = [name.strip() if isinstance(name, str) else "" for name in names]
    empty = [str(number) for number, name in enumerate(plain) if not name]
    if empty:
        classes = ", ".join(empty[:5])
        return f"the name of class {classes} is empty; give every class a name (counted from 0)"
    for number, name in enumerate(plain):
        try:
            refuse_unprintable(name)
        except ValueError as error:
            return f"the name of class {number} (counted from 0) {error}"
    twice = sorted(Counter(plain) - Counter(set(plain)))
    if twice:
        return f"every class needs a name of its own; {', '.join(twice[:5])} stands twice"
    return None


def _named(names: Listed) -> Listed:
    problem = names_problem(names)
    if problem is not None:
        raise ValueError(problem)
    return names


Names = Annotated[tuple[str, ...], AfterValidator(_named)]
"""A setting that lists class names in id order."""
Named = Annotated[dict[str, Value], AfterValidator(_named)]
"""A setting that gives each class name a value."""


def require_names(names: Iterable[object], source: str) -> None:
    """Refuse class names of which one is empty or stands twice.

    Args:
        names: in id order.
        source: begins the message: the file and the key, or the option.

    Raises:
        InputError: a name is empty, or stands twice.
    """
    problem = names_problem(names)
    if problem is not None:
        raise InputError(f"{source}: {problem}.")


def invented_names(names: Sequence[str]) -> list[str]:
    """Return the names that say nothing but an id or a colour."""
    return [name for name in names if _INVENTED.fullmatch(name.strip())]
