"""Heads by name: one decorator gives a head its name, its settings and what it reads.

This module imports no head. A built-in head is a row of ``spec.BUILT_IN`` and the file
``heads/<name>.py``, which is imported when the head itself is first asked for. A head of
one's own is named by a reference, ``package.module:Class``, so that every process of a study finds
it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeVar

from encoder_ablations.segmenters import heads
from encoder_ablations.segmenters.spec import BUILT_IN, HeadSpec
from encoder_ablations.utils.errors import InputError, unknown

if TYPE_CHECKING:
    from encoder_ablations.segmenters.base import Head

Reads = Literal["pyramid", "maps"]
"""What a head reads: a pyramid p2 to p5, or whatever levels the encoder gives."""

HeadClass = TypeVar("HeadClass", bound="type[Head]")


@dataclass(frozen=True)
class HeadEntry:
    """A registered head.

    Attributes:
        name: the name it was registered by.
        spec: its settings.
        head: the class, whose ``build`` makes one.
        reads: what the encoder must give it.
    """

    name: str
    spec: type[HeadSpec]
    head: "type[Head]"
    reads: Reads

    @property
    def reference(self) -> str:
        """The name by which any other process finds this head."""
        if self.head.__module__ == f"{heads.__name__}.{self.name}":
            return self.name
        return f"{self.head.__module__}:{self.head.__qualname__}"


_entries: dict[str, HeadEntry] = {}


def register_head(
    name: str, spec: type[HeadSpec], reads: Reads = "pyramid"
) -> Callable[[HeadClass], HeadClass]:
    """Return a decorator that makes a :class:`~.base.Head` known by ``name``.

    Args:
        name: also the name of its file, if it lies in ``segmenters/heads/``.
        spec: its settings; ``ablate keys`` lists them with the docstrings below its fields.
        reads: "pyramid" if it needs the levels p2 to p5, "maps" if it takes whatever levels the
            encoder gives.
    """

    def register(head: HeadClass) -> HeadClass:
        entry = HeadEntry(name, spec, head, reads)
        # a module that was reloaded registers the same class again
        known = _entries.get(name, entry)
        if known.reference != entry.reference:
            raise InputError(
                f"two heads are called '{name}': {known.reference} and {entry.reference}. "
                "Rename one."
            )
        _entries[name] = entry
        return head

    return register


def head_entry(name: str) -> HeadEntry:
    """Return the head of a name, or of a reference ``package.module:Class``.

    Raises:
        InputError: there is no such head, or its module cannot be imported.
    """
    if name not in _entries and name in BUILT_IN:
        import_module(f"{heads.__name__}.{name}")
    if name in _entries:
        return _entries[name]
    module, colon, qualified = name.partition(":")
    if colon:
        return _referenced(module, qualified)
    raise unknown("segmenter", name, head_names())


def head_names() -> list[str]:
    """Return the names of all heads known here, without importing any."""
    return sorted({*BUILT_IN, *_entries})


def head_settings(name: str) -> tuple[type[HeadSpec], str]:
    """Return a head's settings, and the name by which any process finds it.

    A built-in head is not imported.

    Raises:
        InputError: there is no such head, or its module cannot be imported.
    """
    if name in BUILT_IN:
        return BUILT_IN[name], name
    entry = head_entry(name)
    return entry.spec, entry.reference


def _referenced(module: str, qualified: str) -> HeadEntry:
    """Return the head of a class that a module registers when it is imported."""
    reference = f"{module}:{qualified}"
    if module not in sys.modules and not _exists(module):
        raise InputError(
            f"segmenter '{reference}': there is no module '{module}' on the Python path. "
            "Install it, or add its folder to PYTHONPATH."
        )
    head = getattr(import_module(module), qualified, None)
    for entry in _entries.values():
        if entry.head is head:
            return entry
    raise InputError(
        f"segmenter '{reference}': the module has no registered head '{qualified}'. "
        "Write @register_head(name, Spec) above the class (encoder_ablations.segmenters.registry)."
    )


def _exists(module: str) -> bool:
    """Return whether a module can be found, without importing it."""
    if not all(part.isidentifier() for part in module.split(".")):
        return False
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package does not exist
        return False
