"""Parameters of a frozen body, kept in a file of their own beside the checkpoints that need them.

They are the same in every checkpoint, and in all runs of a study that start from the same weights.
The file is named by a digest of what it holds, and runs of one study share it by hard links: each
run's folder is complete by itself, and the disk holds the parameters once.

A body with adapters has the same file as a frozen one. The file holds the body's own parameters, by
the names that they have without adapters.
"""

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from encoder_ablations.encoders.adaptation import plain_names
from encoder_ablations.engine.training.checkpoints import (
    BODY,
    NAMES,
    body_digest,
    body_file,
    load_body,
    save_checkpoint,
)
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError

PREFIX = "encoder.body."


def save_model(path: Path, segmenter: Segmenter, content: dict[str, Any]) -> None:
    """Write a checkpoint with the weights of a segmenter as "model".

    Args:
        path: the file. A frozen body's parameters go into a file beside it.
        segmenter: the model.
        content: what else the checkpoint holds.
    """
    weights: dict[str, Tensor] = segmenter.state_dict()
    encoder = segmenter.encoder
    if encoder.body_is_frozen or encoder.adapters:
        stored = {f"{PREFIX}{own}": f"{PREFIX}{name}" for own, name in plain_names(encoder).items()}
        body = {name: weights.pop(own) for own, name in stored.items()}
        content = {**content, BODY: _keep(path.parent, body)}
        renamed = {name: own for own, name in stored.items() if own != name}
        if renamed:
            content[NAMES] = renamed
    save_checkpoint(path, {**content, "model": weights})


def _keep(folder: Path, parameters: dict[str, Tensor]) -> str:
    """Make sure that a folder of checkpoints holds these parameters; return their digest."""
    digest = body_digest(parameters)
    file = body_file(folder, digest)
    if not file.exists() and not _link(file, digest):
        save_checkpoint(file, {BODY: parameters})
    return digest


def _link(file: Path, digest: str) -> bool:
    """Link another run's file of the same parameters; return whether there is one to link."""
    runs = file.parent.parent.parent
    for other in sorted(runs.glob(f"*/{file.parent.name}/{file.name}")):
        try:
            load_body(other, digest)
            file.parent.mkdir(parents=True, exist_ok=True)
            os.link(other, file)
        except (InputError, OSError):
            continue  # damaged, or on a disk without links: this run gets a file of its own
        return True
    return False
