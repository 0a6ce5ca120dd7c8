"""Whether a file is still the one that something was made from."""

from pathlib import Path


def file_state(path: Path) -> str:
    """Return a file's size in bytes and time of its last change in nanoseconds; other content, another state.

    Raises:
        OSError: there is no such file, or it cannot be looked at.
    """
    about = path.stat()
    return f"{about.st_size} {about.st_mtime_ns}"
