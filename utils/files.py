"""Files that appear whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.leftovers import remove_leftovers, temporary_prefix

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of a place that takes no more files: the disk or the quota is full, or it is read-only."""


class StorageError(InputError):
    """The place where results go cannot be written to; no run has failed."""


@contextmanager
def temporary_beside(path: Path | str) -> Iterator[Path]:
    """Yield an empty temporary file; at the end of the block rename it to ``path``.

    It is not synced, so that a power failure may leave a damaged file at ``path``.

    Raises:
        StorageError: the folder cannot be written to, or the disk is full; ``path`` is unchanged.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent.absolute())
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=temporary_prefix(path))
        os.close(descriptor)
        yield Path(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"cannot write {path}: {reason}. "
            "Free some space or choose another folder with --output."
        ) from error
    finally:
        if temporary is not None:
            # one that cannot be deleted either is removed by the next writer
            with suppress(OSError):
                os.unlink(temporary)


@contextmanager
def replacing(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file; at the end of the block sync it and rename it to ``path``.

    Raises:
        StorageError: the folder cannot be written to, or the disk is full; ``path`` is unchanged.
    """
    encoding = None if "b" in mode else "utf-8"
    with temporary_beside(path) as temporary, temporary.open(mode, encoding=encoding) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def require_free(path: Path) -> None:
    """Refuse a place for a new folder or file where something is, other than an empty folder.

    Raises:
        InputError: a file, or a folder that is not empty.
    """
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty:
        raise InputError(f"{path.absolute()} exists already. Choose another place, or remove it.")


@contextmanager
def new_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary folder; it becomes ``path``, or is removed where the block fails.

    Raises:
        InputError: ``path`` is not free, cannot be written to, or the disk is full.
    """
    path = Path(path).absolute()
    require_free(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent.absolute())
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=temporary_prefix(path)))
        yield temporary
        os.chmod(temporary, 0o755)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot write {path}: {reason}. Free some space or choose another folder."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def together(*paths: Path) -> Iterator[None]:
    """Remove what the block wrote at ``paths``, which were free, unless it ends well."""
    try:
        yield
    except BaseException:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with replacing(path, "wb") as file:
        file.write(content)


def write_text(path: Path | str, content: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    with replacing(path, "w") as file:
        file.write(content)


def as_json(content: Any) -> str:
    """Return indented JSON with a newline at its end; NaN is refused."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def write_json(path: Path | str, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, as_json(content))


def write_with(path: Path | str, save: Callable[[IO[bytes]], object]) -> None:
    """Write ``path`` with a library's function, as ``lambda file: np.save(file, array)``."""
    with replacing(path, "wb") as file:
        save(file)


def ensure_writable(folder: Path | str) -> Path:
    """Create ``folder`` and check that files can be made in it; return it.

    Raises:
        StorageError: it is a file, or cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f"cannot write to the folder {folder}: {error.strerror}. "
            "Choose another one with --output."
        ) from error
    return folder


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
