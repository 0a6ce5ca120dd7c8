"""The optimisers of ``torch.optim`` by their names, and what their settings may be."""

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from encoder_ablations.utils.errors import InputError, unknown

if TYPE_CHECKING:
    import torch

ADAMW = "adamw"
"""The default, which needs no check: commands that only read settings do without PyTorch."""
REFUSED = {
    "lbfgs": "it computes the loss several times a step, on one unchanging batch",
    "muon": "it takes matrices alone, but every model here also has biases or convolutions",
    "sparseadam": "it takes sparse gradients alone, which no layer here has",
}
"""Optimisers that cannot train our models, and why."""
OWN_KEYS = ("lr", "weight_decay", "betas", "momentum")
"""Arguments that have a key of their own."""
UNUSABLE = ("params", "maximize", "differentiable", "capturable")
"""Arguments that would undo the training."""


def optimizer_class(name: str) -> "type[torch.optim.Optimizer]":
    """Return a class of ``torch.optim`` by its name, whatever its case.

    Raises:
        InputError: there is no such optimiser, or it cannot train our models.
    """
    import torch

    if name.lower() in REFUSED:
        raise InputError(f"the optimiser {name} cannot be used here: {REFUSED[name.lower()]}.")
    found = {}
    for each in vars(torch.optim).values():
        if isinstance(each, type) and issubclass(each, torch.optim.Optimizer):
            found[each.__name__.lower()] = each
    usable = sorted(found.keys() - {"optimizer", *REFUSED})
    if name.lower() not in usable:
        raise unknown("optimiser", name, usable)
    return found[name.lower()]


def check_arguments(name: str, settings: Iterable[str], arguments: Mapping[str, Any]) -> None:
    """Check the keyword arguments of an optimiser; its class checks their values.

    Args:
        name: of the class.
        settings: names of those arguments that ``optimizer.settings`` holds.
        arguments: all of them, with their values.

    Raises:
        InputError: the optimiser has no such argument, or not this value.
    """
    import torch

    chosen = optimizer_class(name)
    allowed = set(inspect.signature(chosen).parameters).difference(UNUSABLE)
    for key in settings:
        if key in OWN_KEYS:
            raise InputError(f"settings.{key}: write it as optimizer.{key}.")
        if key not in allowed:
            raise unknown(f"setting of {chosen.__name__}", key, allowed.difference(OWN_KEYS))
    for key in arguments:
        if key not in allowed:
            known = ", ".join(sorted(allowed))
            raise InputError(f"the optimiser {chosen.__name__} has no {key}; it has {known}.")
    try:
        chosen([torch.zeros(1, requires_grad=True)], **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the optimiser {chosen.__name__} refuses its settings: {error}"
        ) from error
