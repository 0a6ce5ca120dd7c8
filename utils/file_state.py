"""Whether a file is still the one that something was made from."""

from pathlib import Path


def file_state(path: Path) -> str:
    """Return a file's size in bytes and the time of its last change in nanoseconds.

    Raises:
        OSError: the file does not exist or cannot be inspected.
    """
    about = path.stat()
    return f"{about.st_size} {about.st_mtime_ns}"
