"""The lock of a run, held by the process that computes it and released when that process dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from encoder_ablations.utils.files import StorageError, ensure_writable

NAME = "run.lock"


@contextmanager
def holding(folder: Path, seconds: float) -> Iterator[bool]:
    """Hold the lock of the run in ``folder``; yield False if another process still holds it.

    Args:
        folder: of the run.
        seconds: how long to wait for the lock.

    Raises:
        StorageError: nothing can be written there, or its file system has no locks.
    """
    ensure_writable(folder)
    # where a file system has no locks, filelock would take the mere existence of a file for one,
    # and that would outlive a crash
    lock = FileLock(folder / NAME, fallback_to_soft=False)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise StorageError(
            f"cannot lock {folder / NAME}: {error.strerror}. Free some space or choose another "
            "folder with --output."
        ) from error
    try:
        yield True
    finally:
        # Only its holder removes the file, and before it lets go. Who waits for the lock of this
        # very file gets it then, sees that no folder holds the file any more (filelock compares),
        # and takes the new one. A file that cannot be removed is no lock any more.
        with suppress(OSError):
            (folder / NAME).unlink(missing_ok=True)
        lock.release()


def is_held(folder: Path) -> bool:
    """Return whether some process computes the run in ``folder`` now; nothing is written."""
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY)
    except OSError:  # there is none, or it is somebody else's that we may not read
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
