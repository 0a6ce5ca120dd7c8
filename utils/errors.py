"""One error type for everything that a user can put right."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the message says what was given, what is allowed and how to fix it. Commands exit with code 2."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest of ``allowed``, or "" when nothing is close."""
    match = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" Did you mean '{match[0]}'?" if match else ""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """The error for a name that is not in a table: names the nearest one and lists what is allowed."""
    names = sorted(allowed)
    return InputError(f"unknown {kind} '{name}'.{nearest(name, names)} Allowed: {', '.join(names)}.")
