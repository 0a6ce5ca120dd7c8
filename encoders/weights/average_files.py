"""Files of averages of checkpoints, with what they were made of as remarks."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save, save_file

from encoder_ablations.encoders.weights.averaging import Weighting, average
from encoder_ablations.encoders.weights.checkpoints import ACTIVATION, Checkpoint
from encoder_ablations.utils.files import new_folder, write_bytes

SAFETENSORS = "model.safetensors"
"""File of the weights in a folder of transformers."""


def parts_of(
    checkpoints: Sequence[Checkpoint], weighting: Weighting, apart: Sequence[float]
) -> list[dict[str, Any]]:
    """Return what the written file says of each checkpoint.

    Args:
        checkpoints: that are averaged.
        weighting: their weights.
        apart: the distance of each to the first one.
    """
    found: list[dict[str, Any]] = []
    for number, checkpoint in enumerate(checkpoints):
        part: dict[str, Any] = {"file": checkpoint.path.name, "sha256": checkpoint.sha256}
        part |= {"weight": weighting.by[number], "distance": apart[number]}
        if weighting.entropies is not None:
            part["entropy"] = weighting.entropies[number]
        found.append(part)
    return found


def part_line(checkpoint: Checkpoint, part: dict[str, Any]) -> str:
    """Return what is printed of a checkpoint.

    Args:
        checkpoint: one of those that are averaged.
        part: what :func:`parts_of` says of it.
    """
    activation = checkpoint.activation or "activation not known (--activations says it)"
    line = f"weight {part['weight']:.3g}, {activation}, distance {part['distance']:.3g}"
    if "entropy" in part:
        line += f", entropy {part['entropy']:.3g} nats"
    return line


def write_average(
    checkpoints: Sequence[Checkpoint],
    weighting: Weighting,
    parts: Sequence[dict[str, Any]],
    output: Path,
) -> None:
    """Write the average: a file, or a folder where folders are averaged.

    A folder has the text files of the first one, such as its tokeniser.

    Args:
        checkpoints: that are averaged.
        weighting: their weights, and the rule that they come from.
        parts: see :func:`parts_of`.
        output: a path that is free.
    """
    first = checkpoints[0]
    remarks = {
        "format": "pt",
        "average": json.dumps(parts),
        "weighting": json.dumps(weighting.facts),
    }
    known = [each.activation for each in checkpoints if each.activation]
    if known:
        remarks[ACTIVATION] = known[0]
    averaged = average(checkpoints, weighting.by)
    tensors = {name: value.contiguous() for name, value in averaged.items()}
    if not first.path.is_dir():
        write_bytes(output, save(tensors, remarks))
        return
    with new_folder(output) as folder:
        for path in sorted(first.path.iterdir()):
            if path.is_file() and path.suffix in (".json", ".txt", ".model"):
                shutil.copy(path, folder)
        save_file(tensors, folder / SAFETENSORS, remarks)
