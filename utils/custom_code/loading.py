"""Objects of a user's own code, by a reference ``package.module:name``.

A module is looked for as Python does, and last in the current folder: a console script, unlike
``python -m``, has that folder not on its path. It is on the path only while a module is imported.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any

from encoder_ablations.utils.custom_code.failures import failing_in
from encoder_ablations.utils.errors import InputError, nearest

UNKNOWN = "unknown"
"""The digest of a module that has no file, such as a notebook's."""
_digests: dict[str, str] = {}
"""SHA-256 of a module's file as it was when the module was first loaded, by the module's name."""


def load_custom(reference: str, kind: str) -> Any:
    """Return the object that a reference names; its module is imported.

    Args:
        reference: ``package.module:name``, or ``package.module:Class.name``.
        kind: what refers to it, which begins messages: "encoder".

    Raises:
        InputError: it is no reference, there is no such module or name, or the import failed.
    """
    where = f"{kind} '{reference}'"
    module_name, _, qualified = reference.partition(":")
    parts = [*module_name.split("."), *qualified.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise InputError(
            f"{where}: a reference is written package.module:name, e.g. my_package.models:make_it."
        )
    found: Any = load_module(module_name, where)
    for name in qualified.split("."):
        if not hasattr(found, name):
            public = [each for each in vars(found) if not each.startswith("_")]
            raise InputError(
                f"{where}: '{module_name}' has no '{name}'.{nearest(name, public)} "
                f"Its file is {_file(sys.modules[module_name]) or UNKNOWN}."
            )
        found = getattr(found, name)
    return found


def load_module(name: str, where: str) -> ModuleType:
    """Return a module, imported if that has not happened yet.

    Raises:
        InputError: there is no such module, or its own code fails while it is imported.
    """
    with _current_folder_on_path(), failing_in(name, f"{where}: importing '{name}'"):
        try:
            module = import_module(name)
        except ModuleNotFoundError as error:
            missing = str(error.name)
            # a module that the user's code imports is another matter
            if not f"{name}.".startswith(f"{missing}."):
                raise
            raise InputError(
                f"{where}: there is no module '{missing}' on the Python path or in the current "
                f"folder, {Path.cwd()}. Run the command in the folder that holds it, or add that "
                "folder to PYTHONPATH, or install the package."
            ) from error
    if name not in _digests:
        _digests[name] = _digest(module)
    return module


def code_digest(reference: str) -> str:
    """Return the SHA-256 of the file of a reference's module, as it was when it was loaded.

    Raises:
        InputError: the module cannot be imported.
    """
    name = reference.partition(":")[0]
    if name not in _digests:
        load_module(name, f"'{reference}'")
    return _digests[name]


def _digest(module: ModuleType) -> str:
    file = _file(module)
    if file is None or not Path(file).is_file():
        return UNKNOWN
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _file(module: ModuleType) -> str | None:
    return getattr(module, "__file__", None)


@contextmanager
def _current_folder_on_path() -> Iterator[None]:
    """Within the block, modules of the current folder are found, after all others."""
    folder = os.getcwd()
    # the files may be newer than what Python remembers of their folder
    invalidate_caches()
    sys.path.append(folder)
    try:
        yield
    finally:
        # the user's code may have changed the path
        with suppress(ValueError):
            _remove_last(sys.path, folder)


def _remove_last(items: list[str], item: str) -> None:
    del items[len(items) - 1 - items[::-1].index(item)]
