"""Checkpoints: written whole or not at all, read without unpickling code."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_with
from encoder_ablations.utils.torch_files import DAMAGED, save

SCHEMA_VERSION = 1


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain values; see :func:`load_checkpoint`."""
    write_with(path, lambda file: save({"schema_version": SCHEMA_VERSION, **content}, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Raises:
        InputError: the file is missing, damaged, not one of ours, or of another schema.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"there is no checkpoint {path}.") from error
    except DAMAGED as error:
        raise InputError(
            f"{path} is damaged or not a checkpoint of this program; without it the run begins anew."
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}.")
    return content


def load_model(model: nn.Module, state: dict[str, torch.Tensor], source: Path) -> None:
    """Loads weights strictly.

    Raises:
        InputError: the first keys that do not fit, with both shapes.
    """
    own = model.state_dict()
    problems = [f"{key} is missing in the file" for key in own if key not in state]
    problems += [f"{key} is not in the model" for key in state if key not in own]
    problems += [
        f"{key} is {tuple(state[key].shape)} in the file, {tuple(own[key].shape)} in the model"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise InputError(f"{source} does not fit this model: {'; '.join(problems[:3])}{more}.")
    model.load_state_dict(state)
