"""Checkpoint files.

They appear whole or not at all, are read without unpickling code, and are refused when they are
damaged or belong to another run.
"""

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

SCHEMA_VERSION = 3
DIGEST = "sha256"
"""Key of a checkpoint's digest: of everything else that it holds."""
BODY = "body"
"""Key of the digest of a frozen body's parameters, which lie in another file."""
NAMES = "body_names"
"""Key of the names that a frozen body's parameters have in the model, where adapters change them:
name in the other file → name in the model."""
MOST_THREADS = 8
WORTH_THREADS = 1 << 25
"""Bytes of tensors from which threads share their digests; fewer are digested sooner by one."""
WAY_OUT = "Restore the file, or delete the run's folder to run it again."
PLAIN = (int, float, str, bool, type(None))
"""Types of the values that a checkpoint may hold beside tensors."""


class CheckpointError(InputError):
    """A checkpoint cannot be used: it is missing, damaged, or not the one that is asked for."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values with a digest of them; see :func:`load_checkpoint`.

    Args:
        path: the file; its folder is made.
        content: nested mappings and sequences; ``run_id`` in it says whose checkpoint it is.
    """
    whole = {"schema_version": SCHEMA_VERSION, **content}
    whole[DIGEST] = _digest(whole)
    write_with(path, lambda file: save(whole, file))


def check_plain(title: str, content: Any) -> None:
    """Refuse what a checkpoint cannot hold.

    Args:
        title: what ``content`` is, for the message.
        content: nested mappings and sequences.

    Raises:
        InputError: an entry is neither a tensor nor a plain value.
    """
    for name, value in _leaves("", content):
        if not isinstance(value, Tensor) and type(value) not in PLAIN:
            raise InputError(
                f"{title} cannot be saved: {name.lstrip('/')} is a {type(value).__name__}. Allowed "
                "are tensors, numbers, texts, True, False and None, in dictionaries and lists."
            )


def load_checkpoint(
    path: Path, run_id: str | None = None, step: int | None = None
) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, and a frozen body's parameters from the file beside it.

    Args:
        path: the file.
        run_id: the run that it must belong to; None = any.
        step: the training step that it must have been saved at; None = any.

    Raises:
        CheckpointError: the file is missing, damaged, no checkpoint, of another schema, or of
            another run or step.
    """
    content = _read(path)
    check_digest(path, content)
    found_run, found_step = content.get("run_id"), content.get("step")
    if run_id not in (None, found_run):
        raise CheckpointError(
            f"{path} is a checkpoint of another run, {found_run}; this is the run {run_id}. "
            + WAY_OUT
        )
    if step not in (None, found_step):
        raise CheckpointError(
            f"{path} holds the weights of step {found_step}, but the run's best ones are those of "
            f"step {step}. {WAY_OUT}"
        )
    if BODY in content:
        file = body_file(path.parent, content[BODY])
        body, renamed = load_body(file, content.pop(BODY)), content.pop(NAMES, {})
        own = {renamed.get(name, name): value for name, value in body.items()}
        content["model"] = own | content["model"]
    return content


def body_digest(parameters: dict[str, Tensor]) -> str:
    """Return the digest of a frozen body's parameters: that of the file which holds them."""
    return _digest({"schema_version": SCHEMA_VERSION, BODY: parameters})


def body_file(folder: Path, digest: str) -> Path:
    """Return the file of a frozen body's parameters in a folder of checkpoints."""
    return folder / f"body-{digest[:16]}.pt"


def load_body(file: Path, digest: str) -> dict[str, Tensor]:
    """Return a frozen body's parameters, by their names in the segmenter.

    Raises:
        CheckpointError: the file is missing, damaged, or holds other parameters.
    """
    content = _read(file)
    check_digest(file, content)
    if content[DIGEST] != digest:
        raise CheckpointError(f"{file} holds the weights of another body. {WAY_OUT}")
    parameters: dict[str, Tensor] = content[BODY]
    return parameters


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}. {WAY_OUT}") from error
    except DAMAGED as error:
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint of this program. {WAY_OUT}"
        ) from error
    version = None
    if isinstance(content, dict):
        version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}."
        )
    return content


def check_digest(path: Path, content: dict[str, Any]) -> None:
    """Compare what was read from ``path`` with the digest in it.

    Raises:
        CheckpointError: there is no digest, or the content is not what was written.
    """
    if content.get(DIGEST) is None:
        raise CheckpointError(
            f"{path} has no checksum, so it cannot be told from a damaged one. " + WAY_OUT
        )
    rest = {key: value for key, value in content.items() if key != DIGEST}
    if content[DIGEST] != _digest(rest):
        raise CheckpointError(
            f"{path} is damaged: it does not hold what was written (wrong checksum). " + WAY_OUT
        )


def _digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of all names, types, shapes and bytes, in the order of the keys."""
    leaves = list(_leaves("", content))
    threads = min(MOST_THREADS, torch.get_num_threads())
    if threads == 1 or sum(map(_size, leaves)) < WORTH_THREADS:
        lines = list(map(_line, leaves))
    else:
        # threads share the tensors: hashlib lets go of the interpreter meanwhile
        with ThreadPoolExecutor(threads) as pool:
            lines = list(pool.map(_line, leaves))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _size(leaf: tuple[str, Any]) -> int:
    """Return the bytes of a tensor; 0 for a plain value."""
    _, value = leaf
    if isinstance(value, Tensor):
        return value.nbytes
    return 0


def _line(leaf: tuple[str, Any]) -> str:
    name, value = leaf
    if not isinstance(value, Tensor):
        return f"{name} {value!r}"
    flat = value.detach().cpu().contiguous().flatten()
    digest = hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
    return f"{name} {value.dtype} {tuple(value.shape)} {digest}"


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every tensor and plain value below ``value``, and the length of every container."""
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
    """Load weights into a model; every key and every shape must fit.

    Args:
        model: changed in place.
        state: parameter or buffer name -> tensor.
        source: the file that ``state`` comes from, for the message.

    Raises:
        InputError: the first keys that do not fit, with both shapes.
    """
    load_strictly(model, state, f"{source} does not fit this model")
