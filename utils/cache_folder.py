"""The folder of everything that is kept to save time and can be deleted at any moment."""

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
