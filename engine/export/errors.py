"""The error of a model that PyTorch or ONNX cannot write down."""

import traceback
from pathlib import Path

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_text


class ExportError(InputError):
    """What cannot be exported, in one sentence; the library's own words are kept apart.

    Args:
        message: for users.
        cause: the library's error.

    Attributes:
        details: the library's error with its traceback, which may be pages long.
    """

    def __init__(self, message: str, cause: Exception) -> None:
        super().__init__(message)
        self.details = "".join(traceback.format_exception(cause))


def write_log(error: InputError, path: Path) -> None:
    """Write an error into a file, with the library's own words where it has them."""
    text = str(error)
    if isinstance(error, ExportError):
        text = f"{error}\n\n{error.details}"
    write_text(path, text)
