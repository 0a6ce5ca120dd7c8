"""A run's lock: whoever computes a run holds it, and the system lets go of it when that process dies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from encoder_ablations.utils.files import ensure_writable

NAME = "run.lock"


@contextmanager
def holding(folder: Path, seconds: float) -> Iterator[bool]:
    """Within the block the run in ``folder`` is nobody else's; False if it still was after ``seconds``."""
    ensure_writable(folder)
    lock = _lock(folder)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Whether some process computes the run in ``folder`` now."""
    if not (folder / NAME).exists():
        return False
    lock = _lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except PermissionError:  # somebody else's study, which we may only read
        return False
    lock.release()
    return False


def _lock(folder: Path) -> FileLock:
    # a lock by a file's mere existence, filelock's way out on some file systems, would outlive a crash
    return FileLock(folder / NAME, fallback_to_soft=False)
