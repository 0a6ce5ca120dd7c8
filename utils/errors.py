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


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of ``allowed``, or "" when nothing is close."""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=max(len(names), 1), cutoff=0.5)

    def likeness(other: str) -> tuple[float, bool]:
        return difflib.SequenceMatcher(None, other, name).ratio(), other[:1] == name[:1]

    # among equally close names prefer the same first letter, which is seldom misspelt
    return f" Did you mean '{max(close, key=likeness)}'?" if close else ""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """Return the error for an unknown name: it suggests the nearest and lists what is allowed."""
    names = sorted(allowed)
    return InputError(
        f"unknown {kind} '{name}'.{nearest(name, names)} Allowed: {', '.join(names)}."
    )
