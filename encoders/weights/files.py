"""Reading local weight files as names and tensors. Code in a file is never executed."""

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from encoder_ablations.encoders.weights.torchscript import is_torchscript, read_torchscript
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.torch_files import DAMAGED

PYTORCH_SUFFIXES = (".pth", ".pt", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights."""

PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file, on the CPU.

    They keep the file's precision. TorchScript archives, such as OpenAI's CLIP downloads, are read
    as data; their code is not run.

    Raises:
        InputError: the file is missing, damaged, of another kind, without tensors, or could only be
            read by running code that it contains.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"weights: there is no file {path}. Give a .safetensors, .pth, .pt or .bin file."
        )
    if path.suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    elif path.suffix in PYTORCH_SUFFIXES:
        content = _read_pytorch(path)
    else:
        allowed = ", ".join((".safetensors", *PYTORCH_SUFFIXES))
        raise InputError(
            f"weights: {path} has the unknown suffix '{path.suffix}'. Allowed: {allowed}."
        )
    return _strip_prefixes(_tensors_of(content, path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


def _read_pytorch(path: Path) -> object:
    try:
        if is_torchscript(path):
            return read_torchscript(path)
        # scripts derived from DeiT and MAE keep their command line, a mere Namespace, in the file
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        objects = _objects_in(path)
        if objects is None:
            raise _damaged(path, "not in PyTorch's format") from error
        raise InputError(
            f"weights: {path} holds Python objects ({objects}) which could run code when read, "
            "so it is not read. Where you trust it, load it once and save model.state_dict() as a "
            ".safetensors file (safetensors.torch.save_file)."
        ) from error
    except DAMAGED as error:
        raise _damaged(path, str(error)) from error


def _objects_in(path: Path) -> str | None:
    """Return the names of other objects than tensors and plain values; None for a damaged file."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        return ", ".join(sorted(names)[:3]) or "of unknown types"
    except ValueError:  # the format before PyTorch 1.6, which is a bare pickle
        with path.open("rb") as file:
            return "of unknown types" if file.read(1) == pickle.PROTO else None
    except DAMAGED:
        return None


def _damaged(path: Path, reason: str) -> InputError:
    first_line = (reason.splitlines() or ["it ends too early"])[0][:120]
    return InputError(
        f"weights: {path} is damaged or not a weight file ({first_line}). "
        f"Download or save it again; it has {path.stat().st_size} bytes."
    )


def _tensors_of(content: object, path: Path) -> dict[str, Tensor]:
    """Return the named tensors in ``content``, or in a mapping that a script wrapped them in."""
    found = _unwrapped(content)
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = type(content).__name__
        if isinstance(content, Mapping):
            keys = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise InputError(
            f"weights: {path} has no named tensors at its top or under {', '.join(WRAPPERS)}; "
            f"it has: {keys}. Save model.state_dict() instead."
        )
    return {name: value.detach() for name, value in tensors.items()}


def _unwrapped(content: object) -> Mapping[Any, Any]:
    """Return the innermost mapping below the keys of ``WRAPPERS``; empty if it is no mapping."""
    if not isinstance(content, Mapping):
        return {}
    inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
    return _unwrapped(inner[0]) if inner else content


def _strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the prefixes that all names have, however often."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            shorter = {name.removeprefix(prefix): value for name, value in tensors.items()}
            return _strip_prefixes(shorter)
    return tensors
