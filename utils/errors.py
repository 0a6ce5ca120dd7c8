"""One error type for everything that a user can put right."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message says what was given, what is allowed and how to fix it. Commands exit with code 2."""


class CannotContinue(Exception):
    """This process has to end, though the input is good: the message says why, and what is on disk.

    Commands exit with code 1. No ``RuntimeError``, so that nobody takes it for the failure of one run.
    """


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest of ``allowed``, or "" when nothing is close."""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=max(len(names), 1), cutoff=0.5)

    def likeness(other: str) -> tuple[float, bool]:
        return difflib.SequenceMatcher(None, other, name).ratio(), other[:1] == name[:1]

    # of equally close ones that with the first letter: it is seldom the wrong one
    return f" Did you mean '{max(close, key=likeness)}'?" if close else ""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """The error for a name that is not in a table: names the nearest one and lists what is allowed."""
    names = sorted(allowed)
    return InputError(
        f"unknown {kind} '{name}'.{nearest(name, names)} Allowed: {', '.join(names)}."
    )
