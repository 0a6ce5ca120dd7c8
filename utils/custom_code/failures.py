"""Errors of a user's own code, as one line that names the place in it."""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.texts import shortened

LONGEST = 300


@contextmanager
def failing_in(module: str, action: str) -> Iterator[None]:
    """Within the block, every error becomes one line with the file and line of the user's code.

    Args:
        module: the name of the user's module.
        action: what is done in the block, which begins the message.

    Raises:
        InputError: the block failed. An ``InputError`` within it stays as it is.
    """
    root = _root(module.partition(".")[0])
    try:
        yield
    except InputError:
        raise
    # a module may end the program when it is imported
    except (Exception, SystemExit) as error:
        message = shortened(" ".join(str(error).split()), LONGEST)
        raise InputError(
            f"{action} failed{_place(error, root)}: {type(error).__name__}: {message}"
        ) from error


def check_arguments(
    function: Callable[..., Any], given: Mapping[str, Any], where: str, positional: int = 0
) -> None:
    """Check that a function can be called with these keyword arguments.

    Before them come as many arguments as ``positional`` says.

    What is written in C may not tell its parameters, and is not checked.

    Raises:
        InputError: an argument that it does not take, or one that it needs and does not get.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*range(positional), **given)
    except TypeError as error:
        hints = [nearest(name, signature.parameters) for name in given]
        known = [name in signature.parameters for name in given]
        hint = next((text for text, fits in zip(hints, known, strict=True) if not fits), "")
        raise InputError(f"{where}: {error}.{hint} It is called as {signature}.") from error


def takes(function: Callable[..., Any], name: str) -> bool:
    """Return whether a function has a parameter of this name, or takes any name."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    anything = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return name in parameters or anything


def _place(error: BaseException, root: str) -> str:
    """Return " at file:line" of the last step that lies below ``root``; "" if none does."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if frame.filename.startswith(root):
            return f" at {frame.filename}:{frame.lineno}"
    return ""


def _root(name: str) -> str:
    """Return the folder of a package, or the file of a module; "" if neither is known."""
    loaded = sys.modules.get(name)
    spec = getattr(loaded, "__spec__", None)
    if loaded is None:
        spec = find_spec(name)
    if spec is None:
        return ""
    folders = list(spec.submodule_search_locations or [])
    return str([*folders, spec.origin or ""][0])
