"""Check checkpoints before Detectron2, which loads what fits of them and only logs the rest."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.training.checkpoints import DIGEST, check_digest
from encoder_ablations.experiments.detectron2_loop.refusals import refused
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.torch_files import DAMAGED

OURS = "backbone.encoder."
FIX = "Name the --encoder (and the --config-file) that it was trained with."


def checkpoint_to_load(folder: str, weights: str, resume: bool) -> tuple[str, bool]:
    """Return the file that Detectron2 will load ("" = none), and whether it resumes from it."""
    saved = Checkpointer(nn.Identity(), folder)
    if resume and saved.has_checkpoint():
        return saved.get_checkpoint_file(), True
    return weights, False


def check_encoder(path: str, encoder: EncoderSpec, resume: bool) -> None:
    """Compare the encoder that a checkpoint names with the one that is asked for.

    Args:
        path: what Detectron2 is given; only local ``.pth`` files are read.
        encoder: the one that is asked for.
        resume: whether the weights that it started from and its frozen part count, too.

    Raises:
        InputError: the file is missing or damaged, or the encoders differ.
    """
    content = _read(path)
    stored = content.get("encoder") or _hook(content).get("encoder")
    if stored is None:
        return
    ignored = {"label"}
    if not resume:
        ignored |= {"weights", "freeze"}
    changed = [
        f"{key} {stored.get(key)} there, {value} here"
        for key, value in encoder.model_dump(mode="json", exclude=ignored).items()
        if stored.get(key) != value
    ]
    if changed:
        raise InputError(f"{path} is a checkpoint of another encoder ({'; '.join(changed)}). {FIX}")


def check_run(path: str, run_id: str) -> None:
    """Compare the run that a checkpoint of Detectron2's trainer names with the one to resume.

    Raises:
        InputError: it is of another run, or does not say of which.
    """
    stored = _hook(_read(path)).get("run_id")
    if stored != run_id:
        raise InputError(
            f"{path} is a checkpoint of another run, {stored}; what is asked for is {run_id}. Give "
            "the settings that it was begun with, or another OUTPUT_DIR."
        )


def check_weights(path: str, model: nn.Module, whole: bool) -> None:
    """Compare names and shapes of a checkpoint's weights with the model's.

    Args:
        path: of the checkpoint.
        model: what they are loaded into.
        whole: whether every weight is needed (to resume or to evaluate). If not, all of our
            encoder's are, or none (to fine-tune a head that was trained on another backbone).

    Raises:
        InputError: a weight is missing or has another shape.
    """
    content = _read(path)
    weights = content.get("model", content)
    for name, value in _needed(weights, model, whole).items():
        given, needed = _size(weights.get(name)), _size(value)
        if given != needed:
            raise InputError(
                f"{path} does not fit the model: for {name} it holds {given}, needed is {needed}. "
                f"{FIX}"
            )


@contextmanager
def as_load_error(path: str, folder: str) -> Iterator[None]:
    """Within the block, which loads weights, say in one line why they cannot be loaded.

    Args:
        path: of the weights.
        folder: where the traceback is kept.

    Raises:
        InputError: they are damaged, of another format, or cannot be downloaded.
        Exception: our own code failed.
    """
    try:
        yield
    except (InputError, torch.OutOfMemoryError, MemoryError):
        raise
    # a .pkl is a program that its bytes describe: a damaged one may raise anything
    except Exception as error:
        reason = " ".join(str(error).split())
        text = (
            f"MODEL.WEIGHTS: {path} cannot be loaded ({type(error).__name__}: {reason}). Give a "
            "checkpoint that is whole, or an address that this machine can reach."
        )
        raise refused(error, text, folder) from error


def _needed(weights: Mapping[str, Any], model: nn.Module, whole: bool) -> dict[str, Any]:
    """Return the model's weights that a checkpoint must hold."""
    if not weights:
        return {}
    every = model.state_dict()
    if whole:
        return every
    if not any(name.startswith(OURS) for name in weights):
        return {}
    return {name: value for name, value in every.items() if name.startswith(OURS)}


def _size(weight: torch.Tensor | None) -> str:
    if weight is None:
        return "nothing"
    return str(tuple(weight.shape))


def _read(path: str) -> dict[str, Any]:
    """Return the content of a local ``.pth``; nothing for downloads and other kinds of file."""
    if not path or "://" in path:
        return {}
    if not Path(path).is_file():
        raise InputError(f"there is no checkpoint {path}.")
    if not path.endswith(".pth"):
        return {}
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise InputError(f"{path} is damaged or not a checkpoint.") from error
    if not _holds_weights(content):
        raise InputError(f"{path} is not a checkpoint: it holds no weights by name.")
    if DIGEST in content:  # ours, the best weights of a recorded run
        check_digest(Path(path), content)
    return content


def _holds_weights(content: object) -> bool:
    """Return whether this maps names to tensors, at once or under "model"."""
    if not isinstance(content, dict):
        return False
    weights = content.get("model", content)
    if not isinstance(weights, dict):
        return False
    return all(isinstance(weight, torch.Tensor) for weight in weights.values())


def _hook(content: dict[str, Any]) -> dict[str, Any]:
    """Return the state of :class:`Recorder` in a checkpoint of Detectron2's trainer."""
    hook: dict[str, Any] = content.get("trainer", {}).get("hooks", {}).get("Recorder", {})
    return hook
