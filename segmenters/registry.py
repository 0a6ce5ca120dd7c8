"""Heads by name: one decorator gives a head its name, its settings and what it reads.

This module imports no head. A built-in head is a row of ``built_in.BUILT_IN`` and the file
``heads/<name>.py``, which is imported when the head itself is first asked for. A head of
one's own is named by a reference, ``package.module:Class``, so that every process of a study finds
it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, get_args

from encoder_ablations.segmenters import heads
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.loss_registry import checked_losses
from encoder_ablations.segmenters.loss_spec import LossSpec
from encoder_ablations.segmenters.named_classes import Kind, NamedClass, Registry
from encoder_ablations.segmenters.spec import DenseSpec, HeadSpec, Reads, SegmenterSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

if TYPE_CHECKING:
    from encoder_ablations.segmenters.base import Head

HeadClass = TypeVar("HeadClass", bound="type[Head]")


@dataclass(frozen=True)
class HeadEntry(NamedClass):
    """A registered head.

    Attributes:
        reads: what the encoder must give it.
    """

    reads: Reads

    @property
    def head(self) -> "type[Head]":
        """The class, whose ``build`` makes a head."""
        return self.registered


def _head_class() -> "type[Head]":
    # whoever registers a head has imported this already
    from encoder_ablations.segmenters.base import Head

    return Head


HEADS: Registry[HeadEntry, HeadSpec] = Registry(
    Kind(
        key="segmenter",
        noun="head",
        nouns="heads",
        decorator="register_head",
        module=__name__,
        folder=heads.__name__,
        base=_head_class,
        methods=("build", "totals", "loss", "predict"),
    ),
    BUILT_IN,
)
"""All heads that are known in this process."""


def register_head(
    name: str, spec: type[HeadSpec], reads: Reads = "pyramid"
) -> Callable[[HeadClass], HeadClass]:
    """Return a decorator that makes a :class:`~.base.Head` known by ``name``.

    Args:
        name: also the name of its file, if it lies in ``segmenters/heads/``.
        spec: its settings; ``ablate keys`` lists them with the docstrings below its fields.
        reads: "pyramid" if it needs the levels p2 to p5, "maps" if it takes whatever levels the
            encoder gives, "body" if it runs the blocks of a vision transformer itself.

    Raises:
        InputError: ``reads`` is something else.
    """
    if reads not in get_args(Reads):
        raise InputError(
            f"head '{name}': reads is '{reads}'. Allowed: {', '.join(get_args(Reads))}."
        )

    def register(head: HeadClass) -> HeadClass:
        HEADS.add(HeadEntry(name, spec, head, heads.__name__, reads))
        head.reads = reads
        return head

    return register


def head_entry(name: str) -> HeadEntry:
    """Return the head of a name, or of a reference ``package.module:Class``.

    Raises:
        InputError: there is no such head, or its module cannot be imported.
    """
    return HEADS.get(name)


def head_names() -> list[str]:
    """Return the names of all heads known here, without importing any."""
    return HEADS.names()


def head_settings(name: str) -> tuple[type[HeadSpec], str]:
    """Return a head's settings, and the name by which any process finds it.

    A built-in head is not imported.

    Raises:
        InputError: there is no such head, or its module cannot be imported.
    """
    return HEADS.settings(name)


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
