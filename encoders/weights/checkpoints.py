"""Checkpoints that are to be averaged: their weights, and what they say about the network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from encoder_ablations.encoders.weights.files import read_weights
from encoder_ablations.encoders.weights.local_files import weights_in
from encoder_ablations.encoders.weights.torchscript import is_torchscript
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import sha256_of

ACTIVATION = "activation"
"""Key of the activation in the remarks of a file that was written here."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a whole model.

    Attributes:
        path: what was given: a file, or a folder of transformers.
        file: of the weights.
        tensors: by the file's names, in the file's precision.
        activation: of the MLPs, as transformers calls it; None = nothing says so.
        normalization: mean and standard deviation of the images; None = nothing says so.
        sha256: of the weights' file.
    """

    path: Path
    file: Path
    tensors: dict[str, Tensor]
    activation: str | None
    normalization: tuple[Any, Any] | None
    sha256: str


def read_checkpoint(path: Path, activation: str | None = None) -> Checkpoint:
    """Return a checkpoint: a file of weights, or a folder in transformers' format.

    Args:
        path: of the file or folder.
        activation: what a person says; None = what the checkpoint says.

    Raises:
        InputError: it cannot be read, or says another activation.
    """
    file = path
    facts: dict[str, Any] = {}
    normalization = None
    if path.is_dir():
        file = weights_in(path)
        facts = _facts_in(path / "config.json")
        normalization = _normalization_in(path / "preprocessor_config.json")
    known = _activation_in(facts) or _activation_of(file)
    if None not in (known, activation) and known != activation:
        raise InputError(
            f"{path}: its activation is {known}, not {activation}. Leave --activations out."
        )
    tensors = read_weights(file)
    return Checkpoint(path, file, tensors, known or activation, normalization, sha256_of(file))


def _facts_in(file: Path) -> dict[str, Any]:
    """Return a file of JSON; empty if it is missing."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file}: {error}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected an object of JSON.")
    return content


def _activation_in(facts: Mapping[str, Any]) -> str | None:
    """Return what a configuration of transformers says about the vision tower."""
    own = facts.get("vision_config") or facts.get("text_config") or facts
    found = own.get("hidden_act") or facts.get("hidden_act")
    if found is None and str(facts.get("model_type", "")).startswith("clip"):
        found = "quick_gelu"  # transformers' default for CLIP, which it does not write
    return found


def _activation_of(file: Path) -> str | None:
    """Return what a file says: OpenAI's archives are QuickGELU, and ours hold a remark."""
    if file.suffix == ".safetensors" and file.is_file():
        try:
            with safe_open(file, "pt") as opened:
                return (opened.metadata() or {}).get(ACTIVATION)
        except (SafetensorError, OSError):
            return None  # reading its weights says why
    if file.is_file() and is_torchscript(file):
        return "quick_gelu"
    return None


def _normalization_in(file: Path) -> tuple[Any, Any] | None:
    """Return mean and standard deviation of the images that a folder's weights expect."""
    facts = _facts_in(file)
    if "image_mean" not in facts or "image_std" not in facts:
        return None
    return facts["image_mean"], facts["image_std"]
