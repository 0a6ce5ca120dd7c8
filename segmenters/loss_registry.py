"""Losses of dense heads by name: one decorator gives a loss its name and its settings.

This module imports no loss. A built-in loss is a row of ``loss_spec.BUILT_IN_LOSSES`` and the file
``losses/dense/<name>.py``, which is imported when the loss itself is first asked for. A loss of
one's own is named by a reference, ``package.module:Class``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from encoder_ablations.segmenters.loss_spec import BUILT_IN_LOSSES, LossSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.custom_code.loading import load_custom
from encoder_ablations.utils.custom_code.names import is_reference
from encoder_ablations.utils.errors import InputError, unknown

if TYPE_CHECKING:
    from encoder_ablations.segmenters.dense_loss import DenseLoss

FOLDER = "encoder_ablations.segmenters.losses.dense"
LossClass = TypeVar("LossClass", bound="type[DenseLoss]")


@dataclass(frozen=True)
class LossEntry:
    """A registered loss.

    Attributes:
        name: the name it was registered by.
        spec: its settings.
        loss: the class, which is called with the settings and the number of classes.
    """

    name: str
    spec: type[LossSpec]
    loss: "type[DenseLoss]"

    @property
    def reference(self) -> str:
        """The name by which any other process finds this loss."""
        if self.loss.__module__ == f"{FOLDER}.{self.name}":
            return self.name
        return f"{self.loss.__module__}:{self.loss.__qualname__}"


_entries: dict[str, LossEntry] = {}


def register_loss(name: str, spec: type[LossSpec]) -> Callable[[LossClass], LossClass]:
    """Return a decorator that makes a loss of dense heads known by ``name``.

    Args:
        name: also the name of its file, if it lies in ``segmenters/losses/dense/``.
        spec: its settings.
    """

    def register(loss: LossClass) -> LossClass:
        entry = LossEntry(name, spec, loss)
        # a module that was reloaded registers the same class again
        known = _entries.get(name, entry).reference
        if name in BUILT_IN_LOSSES:
            known = name
        if known != entry.reference:
            raise InputError(
                f"two losses are called '{name}': {known} and {entry.reference}. Rename one."
            )
        _check_class(entry)
        _entries[name] = entry
        return loss

    return register


def loss_entry(name: str) -> LossEntry:
    """Return the loss of a name, or of a reference ``package.module:Class``.

    Raises:
        InputError: there is no such loss, or its module cannot be imported.
    """
    if name not in _entries and name in BUILT_IN_LOSSES:
        import_module(f"{FOLDER}.{name}")
    if name in _entries:
        return _entries[name]
    if is_reference(name):
        return _referenced(name)
    raise unknown("loss", name, loss_names())


def loss_names() -> list[str]:
    """Return the names of all losses known here, without importing any."""
    return sorted({*BUILT_IN_LOSSES, *_entries})


def loss_settings(name: str) -> tuple[type[LossSpec], str]:
    """Return a loss's settings, and the name by which any process finds it.

    A built-in loss is not imported.

    Raises:
        InputError: there is no such loss, or its module cannot be imported.
    """
    if name in BUILT_IN_LOSSES:
        return BUILT_IN_LOSSES[name], name
    entry = loss_entry(name)
    return entry.spec, entry.reference


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
    found = {}
    for name, content in given.items():
        spec, reference = loss_settings(name)
        if not isinstance(content, Mapping):
            content = {"weight": content}
        settings = build(spec, content, f"{source}, loss {name}")
        if settings.weight > 0:
            found[reference] = settings
    if not found:
        raise InputError(
            f"{source}: no loss has a weight above 0. Write e.g. loss: {{cross_entropy: 1}}."
        )
    return found


def _referenced(reference: str) -> LossEntry:
    """Return the loss of a class that a module registers when it is imported."""
    loss = load_custom(reference, "loss")
    for entry in _entries.values():
        if entry.loss is loss:
            return entry
    qualified = reference.partition(":")[2]
    raise InputError(
        f"loss '{reference}': '{qualified}' is no registered loss. Write "
        "@register_loss(name, Spec) above the class (encoder_ablations.segmenters.loss_registry)."
    )


def _check_class(entry: LossEntry) -> None:
    """Check that any process can find a loss, and that its classes are of the right kind.

    Raises:
        InputError: it is no subclass of ``DenseLoss``, or lies within a function.
    """
    # whoever registers a loss has imported this already
    from encoder_ablations.segmenters.dense_loss import DenseLoss

    where = f"loss '{entry.reference}'"
    if not (isinstance(entry.loss, type) and issubclass(entry.loss, DenseLoss)):
        raise InputError(
            f"{where}: a loss is a class derived from segmenters.dense_loss.DenseLoss."
        )
    if not (isinstance(entry.spec, type) and issubclass(entry.spec, LossSpec)):
        raise InputError(
            f"{where}: its settings are a class derived from segmenters.loss_spec.LossSpec."
        )
    if "<locals>" in entry.reference:
        raise InputError(
            f"{where} is defined within a function, where other processes cannot find it. "
            "Define it at the top of its module."
        )
