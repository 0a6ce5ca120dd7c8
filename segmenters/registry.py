"""Heads by name: one decorator gives a head its name, its settings and what it reads.

This module imports no head. A built-in head is a row of ``spec.BUILT_IN`` and the file
``heads/<name>.py``, which is imported when the head itself is first asked for. A head of
one's own is named by a reference, ``package.module:Class``, so that every process of a study finds
it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, TypeVar

from encoder_ablations.segmenters import heads
from encoder_ablations.segmenters.loss_registry import checked_losses
from encoder_ablations.segmenters.loss_spec import LossSpec
from encoder_ablations.segmenters.spec import BUILT_IN, DenseSpec, HeadSpec, SegmenterSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.custom_code.loading import load_custom
from encoder_ablations.utils.custom_code.names import is_reference
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


METHODS = ("build", "totals", "loss", "predict")
"""What every head defines."""
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
        known = _entries.get(name, entry).reference
        if name in BUILT_IN:
            known = name
        if known != entry.reference:
            raise InputError(
                f"two heads are called '{name}': {known} and {entry.reference}. Rename one."
            )
        _check_class(entry)
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
    if is_reference(name):
        return _referenced(name)
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


def losses_of(spec: SegmenterSpec) -> dict[str, LossSpec]:
    """Return the losses of a dense head by name or reference; empty for any other head.

    Raises:
        InputError: there is no such head or loss, or one that cannot be imported.
    """
    model, _ = head_settings(spec.name)
    if not issubclass(model, DenseSpec):
        return {}
    where = f"segmenter {spec.name}"
    return checked_losses(build(model, spec.model_dump(), where).loss, where)


def _referenced(reference: str) -> HeadEntry:
    """Return the head of a class that a module registers when it is imported."""
    head = load_custom(reference, "segmenter")
    for entry in _entries.values():
        if entry.head is head:
            return entry
    qualified = reference.partition(":")[2]
    raise InputError(
        f"segmenter '{reference}': '{qualified}' is no registered head. "
        "Write @register_head(name, Spec) above the class (encoder_ablations.segmenters.registry)."
    )


def _check_class(entry: HeadEntry) -> None:
    """Check that any process can find a head, and that it defines what a head needs.

    Raises:
        InputError: it is no subclass of ``Head``, lacks a method, or lies within a function.
    """
    # whoever registers a head has imported this already
    from encoder_ablations.segmenters.base import Head

    where = f"segmenter '{entry.reference}'"
    if not (isinstance(entry.head, type) and issubclass(entry.head, Head)):
        raise InputError(f"{where}: a head is a class derived from segmenters.base.Head.")
    if not (isinstance(entry.spec, type) and issubclass(entry.spec, HeadSpec)):
        raise InputError(
            f"{where}: its settings are a class derived from segmenters.spec.HeadSpec."
        )
    if "<locals>" in entry.reference:
        raise InputError(
            f"{where} is defined within a function, where other processes cannot find it. "
            "Define it at the top of its module."
        )
    inherited = vars(Head)
    missing = [
        each for each in METHODS if inspect.getattr_static(entry.head, each) is inherited[each]
    ]
    if missing:
        raise InputError(f"{where} does not define {', '.join(missing)}.")
