"""What goes wrong with files in PyTorch's format."""

import pickle
import struct
import zipfile
from typing import IO, Any

import torch

DAMAGED = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)
"""What PyTorch's reader raises on files with missing or wrong bytes."""


def save(content: Any, file: IO[bytes]) -> None:
    """Save as ``torch.save`` does, but report a failure to write as OSError.

    Raises:
        OSError: the disk is full.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:  # PyTorch's own archive writer hides the system's error
        raise OSError(
            f"the file could not be written, probably because the disk is full ({error})"
        ) from error
