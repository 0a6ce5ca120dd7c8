"""What is kept to save time: its folder, and the state of the files that it was made from."""

import tempfile
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder(kind: str) -> Path:
    """Return the folder of one kind of cached file, as ``~/.cache/encoder_ablations/scans``.

    ``XDG_CACHE_HOME`` moves it to another disk. A user without a home folder, as in some
    containers, gets one in the system's folder for temporary files. The folder need not exist yet.
    """
    folder = user_cache_path("encoder_ablations", appauthor=False)
    if not folder.is_absolute():
        folder = Path(tempfile.gettempdir()) / "encoder_ablations"
    return folder / kind


def file_state(path: Path) -> str:
    """Return a file's size in bytes and the time of its last change in nanoseconds.

    What was made from the file is out of date once this differs.

    Raises:
        OSError: the file does not exist or cannot be inspected.
    """
    about = path.stat()
    return f"{about.st_size} {about.st_mtime_ns}"
