"""Files in PyTorch's format: what goes wrong with them, and their weights into a model."""

import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

import torch
from torch import Tensor, nn

from encoder_ablations.utils.errors import InputError

DAMAGED = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)
"""What PyTorch's reader raises on files with missing or wrong bytes."""


def save(content: Any, file: IO[bytes]) -> None:
    """Save as ``torch.save`` does, but report a failure to write as OSError.

    Raises:
        OSError: the disk is full.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:  # PyTorch's own archive writer hides the system's error
        raise OSError(
            f"the file could not be written, probably because the disk is full ({error})"
        ) from error


SHOWN = 3


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], where: str, advice: str = ""
) -> None:
    """Load weights into a model whose names and shapes are exactly those of the weights.

    Args:
        model: its weights are replaced, or none of them.
        state: weights by name.
        where: begins the message, for example "last.pt does not fit this model".
        advice: sentences that end it.

    Raises:
        InputError: the first names that do not fit, with both shapes, or that hold infinite or
            undefined numbers.
    """
    own = model.state_dict()
    both = own.keys() & state.keys()
    shapes = [
        f"{name} {_shape(state[name])} instead of {_shape(own[name])}"
        for name in state
        if name in both and state[name].shape != own[name].shape
    ]
    missing = [name for name in own if name not in both]
    surplus = [name for name in state if name not in both]
    problems = (("it lacks", missing), ("the model has no", surplus), ("shapes differ:", shapes))
    found = [f"{problem} {_first(names)}" for problem, names in problems if names]
    if found:
        raise InputError(f"{where}: {'; '.join(found)}. {advice}".rstrip())
    _require_finite(state, where)
    model.load_state_dict(state)


def _require_finite(state: Mapping[str, Tensor], where: str) -> None:
    broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(
            f"{where}: {_first(broken)}: values are not finite (NaN or infinite). "
            "Save the file again from a model that works, or download it again."
        )


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    rest = len(names) - SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
