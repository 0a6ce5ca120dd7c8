"""JSON files with a checksum of themselves, which tells when they were edited or damaged."""

import hashlib
import json
from pathlib import Path
from typing import Any

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_text

UNSET = "0" * 64
"""Stands in the checksum's place while the text is hashed."""


def write_checked(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` with its ``checksum`` as the last key, whole or not at all."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(rest | {"checksum": UNSET}, indent=1, allow_nan=False) + "\n"
    write_text(path, _with_checksum(text, UNSET, _checksum(text)))


def check_text(path: Path, text: str, checksum: object, way_out: str) -> None:
    """Compare the text of a file that :func:`write_checked` wrote with the checksum that it holds.

    Raises:
        InputError: there is no checksum, or the text has changed. ``way_out`` says what to do then.
    """
    if not isinstance(checksum, str) or not checksum:
        raise InputError(
            f"{path} has no checksum, so nothing tells whether it was edited; {way_out}"
        )
    if checksum != _checksum(_with_checksum(text, checksum, UNSET)):
        raise InputError(f"{path} was edited after it was written (wrong checksum); {way_out}")


def _with_checksum(text: str, old: str, new: str) -> str:
    before, _, after = text.rpartition(old)
    return before + new + after


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
