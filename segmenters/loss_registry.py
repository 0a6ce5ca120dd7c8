"""Losses of dense heads by name: one decorator gives a loss its name and its settings.

This module imports no loss. A built-in loss is a row of ``loss_spec.BUILT_IN_LOSSES`` and the file
``losses/dense/<name>.py``, which is imported when the loss itself is first asked for. A loss of
one's own is named by a reference, ``package.module:Class``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from encoder_ablations.segmenters.loss_spec import BUILT_IN_LOSSES, LossSpec
from encoder_ablations.segmenters.named_classes import Kind, NamedClass, Registry
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

if TYPE_CHECKING:
    from encoder_ablations.segmenters.dense_loss import DenseLoss

FOLDER = "encoder_ablations.segmenters.losses.dense"
LossClass = TypeVar("LossClass", bound="type[DenseLoss]")


@dataclass(frozen=True)
class LossEntry(NamedClass):
    """A registered loss."""

    @property
    def loss(self) -> "type[DenseLoss]":
        """The class, which is called with the settings and the number of classes."""
        return self.registered


def _loss_class() -> "type[DenseLoss]":
    # whoever registers a loss has imported this already
    from encoder_ablations.segmenters.dense_loss import DenseLoss

    return DenseLoss


LOSSES: Registry[LossEntry, LossSpec] = Registry(
    Kind(
        key="loss",
        noun="loss",
        nouns="losses",
        decorator="register_loss",
        module=__name__,
        folder=FOLDER,
        base=_loss_class,
    ),
    BUILT_IN_LOSSES,
)
"""All losses of dense heads that are known in this process."""


def register_loss(name: str, spec: type[LossSpec]) -> Callable[[LossClass], LossClass]:
    """Return a decorator that makes a loss of dense heads known by ``name``.

    Args:
        name: also the name of its file, if it lies in ``segmenters/losses/dense/``.
        spec: its settings.
    """

    def register(loss: LossClass) -> LossClass:
        LOSSES.add(LossEntry(name, spec, loss, FOLDER))
        return loss

    return register


def loss_entry(name: str) -> LossEntry:
    """Return the loss of a name, or of a reference ``package.module:Class``.

    Raises:
        InputError: there is no such loss, or its module cannot be imported.
    """
    return LOSSES.get(name)


def loss_names() -> list[str]:
    """Return the names of all losses known here, without importing any."""
    return LOSSES.names()


def loss_settings(name: str) -> tuple[type[LossSpec], str]:
    """Return a loss's settings, and the name by which any process finds it.

    A built-in loss is not imported.

    Raises:
        InputError: there is no such loss, or its module cannot be imported.
    """
    return LOSSES.settings(name)


def checked_losses(given: Mapping[str, Any], source: str) -> dict[str, LossSpec]:
    """Return the losses of a dense head with all their settings, those of weight 0 left out.

    Args:
        given: name or reference -> its weight, or a mapping of its settings.
        source: where it is written, which begins messages.

    Returns:
        The settings by the name that any process finds the loss by.

    Raises:
        InputError: an unknown loss, setting or value, or no loss of a weight above 0.
    """
    found: dict[str, LossSpec] = {}
    for name, content in given.items():
        spec, reference = loss_settings(name)
        if not isinstance(content, Mapping):
            content = {"weight": content}
        settings = build(spec, content, f"{source}, loss {name}")
        if reference in found:
            raise InputError(f"{source}: the loss {reference} is there twice. Leave one out.")
        if settings.weight > 0:
            found[reference] = settings
    if not found:
        raise InputError(
            f"{source}: no loss has a weight above 0. Write e.g. loss: {{cross_entropy: 1}}."
        )
    return found
