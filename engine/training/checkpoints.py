"""Checkpoints: written whole or not at all, read without unpickling code, refused when damaged or of another run."""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_with
from encoder_ablations.utils.torch_files import DAMAGED, load_strictly, save

SCHEMA_VERSION = 1
DIGEST = "sha256"
"""Key of a checkpoint's digest: of everything else that it holds."""
MOST_THREADS = 8


class CheckpointError(InputError):
    """A checkpoint cannot be used: it is missing, damaged, or not the one that is asked for."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values with a digest of them; see :func:`load_checkpoint`.

    Args:
        content: nested mappings and sequences; ``run_id`` in it says whose checkpoint it is.
    """
    whole = {"schema_version": SCHEMA_VERSION, **content}
    whole[DIGEST] = _digest(whole)
    write_with(path, lambda file: save(whole, file))


def load_checkpoint(
    path: Path, run_id: str | None = None, step: int | None = None
) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Args:
        run_id: the run that it must be of; None = of any.
        step: the training step that it must have been saved at; None = at any.

    Raises:
        CheckpointError: the file is missing, damaged, not one of ours, of another schema, of another run or step.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}.") from error
    except DAMAGED as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint of this program; without it the run begins anew."
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}."
        )
    check_digest(path, content)
    if run_id is not None and content.get("run_id") != run_id:
        raise CheckpointError(
            f"{path} is a checkpoint of another run, {content.get('run_id')}; this is the run {run_id}. "
            "Restore this run's own file, or delete the run's folder to run it again."
        )
    if step is not None and content.get("step") != step:
        raise CheckpointError(
            f"{path} holds the weights of step {content.get('step')}, but the best ones of the run are those of step "
            f"{step}. Restore that file, or delete the run's folder to run it again."
        )
    return content


def check_digest(path: Path, content: dict[str, Any]) -> None:
    """Compare what was read from ``path`` with the digest in it.

    Raises:
        CheckpointError: there is no digest, or the content is not what was written.
    """
    if content.get(DIGEST) is None:
        raise CheckpointError(
            f"{path} has no checksum, so it cannot be told from a damaged one. Restore the file, or delete the run's "
            "folder to run it again."
        )
    if content[DIGEST] != _digest({key: value for key, value in content.items() if key != DIGEST}):
        raise CheckpointError(
            f"{path} is damaged: it does not hold what was written (wrong checksum). Restore the file, or delete the "
            "run's folder to run it again."
        )


def _digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of all names, types, shapes and bytes, in the order of the keys."""
    # each tensor is hashed on its own, so that threads share the work: hashlib lets go of the interpreter meanwhile
    with ThreadPoolExecutor(min(MOST_THREADS, torch.get_num_threads())) as threads:
        lines = list(threads.map(_line, _leaves("", content)))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _line(leaf: tuple[str, Any]) -> str:
    name, value = leaf
    if not isinstance(value, Tensor):
        return f"{name} {value!r}"
    flat = value.detach().cpu().contiguous().flatten()
    digest = hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
    return f"{name} {value.dtype} {tuple(value.shape)} {digest}"


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every tensor and plain value below ``value``, and how many entries each container has."""
    if isinstance(value, Mapping):
        yield name, len(value)
        for key, entry in value.items():
            yield from _leaves(f"{name}/{key!r}", entry)
    elif isinstance(value, list | tuple):
        yield name, len(value)
        for index, entry in enumerate(value):
            yield from _leaves(f"{name}/{index}", entry)
    else:
        yield name, value


def load_model(model: nn.Module, state: dict[str, torch.Tensor], source: Path) -> None:
    """Loads weights strictly.

    Raises:
        InputError: the first keys that do not fit, with both shapes.
    """
    load_strictly(model, state, f"{source} does not fit this model")
