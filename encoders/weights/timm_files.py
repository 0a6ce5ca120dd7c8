"""Weight files of timm's models other than vision transformers: names and classifier."""

import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

CLASSIFIERS = ("head", "fc", "classifier")
"""Where classifiers lie, for models that do not say it themselves."""


def named_as_model(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the names of the model, by timm's own conversion of its downloads.

    Weights whose names are the model's stay as they are; so do those that timm cannot convert.

    Args:
        model: made without a classifier.
        state: the content of a file, with or without a classifier.
    """
    own = model.state_dict().keys()
    if own == state.keys() - set(classifier_names(model, state)):
        return dict(state)
    convert: Any = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return dict(state)
    try:
        return dict(convert(dict(state), model))
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError):
        # a file of another family, which the strict load describes
        return dict(state)


def classifier_names(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names in a file that belong to the classifier which the model lacks."""
    named: Any = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    if isinstance(named, str):
        named = (named,)
    prefixes = tuple(f"{name}." for name in (*named, *CLASSIFIERS))
    own = model.state_dict().keys()
    return tuple(name for name in state if name.startswith(prefixes) and name not in own)
