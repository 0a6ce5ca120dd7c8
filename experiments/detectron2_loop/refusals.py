"""Errors of libraries in one line, with their traceback in a file; defects of our own as they are.

Detectron2 raises errors of any kind where a configuration or a file does not suit it. What our own
code raises there is no fault of the user's.
"""

import traceback
from pathlib import Path

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_text

NAME = "traceback.txt"


def refused(error: Exception, text: str, folder: str) -> InputError:
    """Return one line in place of a library's error, and keep the traceback.

    Args:
        error: what was raised.
        text: the line, without what this adds.
        folder: where the traceback is kept.

    Returns:
        The line, with the place of the traceback.

    Raises:
        Exception: ``error`` itself if a line of this program raised it.
    """
    if _raised_here(error):
        raise error
    path = Path(folder) / NAME
    write_text(path, "".join(traceback.format_exception(error)))
    return InputError(f"{text} The traceback is in {path}.")


def _raised_here(error: Exception) -> bool:
    """Return whether the innermost frame of an error is one of this program."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    package = __name__.partition(".")[0]
    return str(frames[-1].f_globals.get("__name__")).startswith(f"{package}.")
