"""Whether a file is still the one that something was made from, and the time that files go by."""

import os
import tempfile
from pathlib import Path


def file_state(path: Path) -> str:
    """Return a file's size in bytes and the time of its last change in nanoseconds.

    Raises:
        OSError: the file does not exist or cannot be inspected.
    """
    about = path.stat()
    return f"{about.st_size} {about.st_mtime_ns}"


def folder_time(folder: Path) -> float:
    """Return the Unix time by the clock that dates the files of ``folder``.

    A file server dates them by its own clock, which may be another one than this machine's.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime
