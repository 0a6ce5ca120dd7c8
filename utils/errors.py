"""One error type for everything that a user can put right."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message says what was given, what is allowed and how to fix it.

    Commands exit with code 2.
    """


class CannotContinue(Exception):
    """This process has to end although the input is good; the message says why.

    Commands exit with code 1. It is no ``RuntimeError``, which would count as one run's failure.
    """


def nearest(name: str, allowed: Iterable[str], most: int = 1) -> str:
    """Return " Did you mean 'x'?" for the closest of ``allowed``, or "" when nothing is close.

    Args:
        name: what was given.
        allowed: names that exist.
        most: how many of the closest are named, the closest first.
    """
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=max(len(names), 1), cutoff=0.6)

    def likeness(other: str) -> tuple[float, bool]:
        return difflib.SequenceMatcher(None, other, name).ratio(), other[:1] == name[:1]

    # among equally close names prefer the same first letter, which is seldom misspelt
    quoted = [f"'{each}'" for each in sorted(close, key=likeness, reverse=True)[:most]]
    if not quoted:
        return ""
    *others, last = quoted
    if others:
        last = f"{', '.join(others)} or {last}"
    return f" Did you mean {last}?"


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """Return the error for an unknown name: it suggests the nearest and lists what is allowed."""
    names = sorted(allowed)
    return InputError(
        f"unknown {kind} '{name}'.{nearest(name, names)} Allowed: {', '.join(names)}."
    )
