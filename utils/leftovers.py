"""Temporary files and folders of processes that were killed while they wrote."""

import os
import re
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path

import psutil

TEMPORARY = re.compile(r"\..+~(?P<host>[^~]+)~(?P<process>\d+)~[^~]+")
"""The name of a temporary file, which says who writes it."""
OLD_SECONDS = 24 * 3600.0
"""After this time without a change what another machine writes counts as left behind."""


def temporary_prefix(path: Path) -> str:
    """Return how the name of a temporary file begins that will become ``path``."""
    return f".{path.name}~{socket.gethostname()}~{os.getpid()}~"


@cache
def remove_leftovers(folder: Path) -> None:
    """Delete what writers that no longer live have left in ``folder``.

    A process looks once into a folder: it may hold very many files, and who is killed later is
    followed by another process.
    """
    for path in list(folder.iterdir()):
        named = TEMPORARY.fullmatch(path.name)
        if named is not None and _is_left(path, named["host"], int(named["process"])):
            _remove(path)


def folder_time(folder: Path) -> float:
    """Return the Unix time by the clock that dates the files of ``folder``.

    A file server dates them by its own clock, which may be another one than this machine's.

    Raises:
        OSError: nothing can be written there.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _is_left(path: Path, host: str, process: int) -> bool:
    if host == socket.gethostname():
        return not _lives(process)
    try:
        changed = path.stat().st_mtime
    except FileNotFoundError:  # its writer has just finished
        return False
    return folder_time(path.parent) - changed > OLD_SECONDS


def _lives(process: int) -> bool:
    """Return whether a process of this machine can still write.

    One that has ended keeps its number until its parent asks how it ended. Some never ask.
    """
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # somebody else's
        return True


def _remove(path: Path) -> None:
    """Delete a file or a folder; one that cannot be deleted stays."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
