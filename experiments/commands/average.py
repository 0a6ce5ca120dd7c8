"""``ablate average``: the weighted average of several checkpoints of one network."""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encoder_ablations.experiments import options
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import new_folder, require_free, write_bytes

if TYPE_CHECKING:
    from encoder_ablations.encoders.weights.checkpoints import Checkpoint

EXAMPLES = """  ablate average remote_clip.pt geo_clip.pt -o averaged.safetensors
  ablate average clip_a clip_b --by 0.7 0.3 -o averaged     folders of transformers, with text tower
  ablate run … encoder.weights=averaged.safetensors         use it as an encoder's weights"""

ABOUT = """Averages the weights of checkpoints that were trained further from the same ones, such as
several CLIPs for aerial images. Files must have the same names and shapes. Checkpoints are refused
if their activations (GELU or QuickGELU) or image normalisations are known to differ, or if they are
too far apart to come from one training. Which weights (--by) are best is not chosen here: say them,
or take equal ones. The checks and the limit are this program's own, not from a paper."""

SAFETENSORS = "model.safetensors"
LIMIT = 0.5
"""Largest relative distance to the first checkpoint. Two of independent trainings, whose weights
are unrelated, are about √2 apart; further training on other data usually stays below 0.3."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate average --help``."""
    arguments = _parser().parse_args(argv)
    # PyTorch is not needed to show the help
    from encoder_ablations.encoders.weights.averaging import (
        check_compatible,
        check_distances,
        distances,
        shares,
    )

    by = shares(arguments.by, len(arguments.checkpoints))
    output: Path = arguments.output
    _check_output(output, arguments.checkpoints)
    checkpoints = _read_all(arguments.checkpoints, arguments.activations)
    check_compatible(checkpoints)
    apart = distances(checkpoints)
    for checkpoint, share, distance in zip(checkpoints, by, apart, strict=True):
        activation = checkpoint.activation or "unknown activation"
        print(f"{checkpoint.path}: weight {share:.3g}, {activation}, distance {distance:.3g}")
    if not arguments.force:
        check_distances(checkpoints, apart, arguments.limit)
    _write(checkpoints, by, apart, output)
    print(f"wrote {output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser("average", ABOUT, EXAMPLES)
    parser.add_argument(
        "checkpoints",
        nargs="+",
        type=Path,
        metavar="CHECKPOINT",
        help="a file of weights, or a folder in transformers' format; all of one kind",
    )
    parser.add_argument(
        "--by", nargs="+", type=float, metavar="W", help="weight of each (default: equal ones)"
    )
    parser.add_argument(
        "--activations",
        nargs="+",
        metavar="NAME",
        help="quick_gelu, gelu … of each, for files that do not say it",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=LIMIT,
        metavar="D",
        help=f"largest relative distance to the first checkpoint (default {LIMIT})",
    )
    parser.add_argument("--force", action="store_true", help="average at any distance")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="a new .safetensors file, or a new folder where folders are averaged",
    )
    return parser


def _check_output(output: Path, given: Sequence[Path]) -> None:
    """Check that the output is new, and of the kind of what is averaged.

    Raises:
        InputError: it is not, or fewer than two checkpoints are given.
    """
    if len(given) < 2:
        raise InputError("an average needs two checkpoints or more.")
    folders = sum(path.is_dir() for path in given)
    if folders not in (0, len(given)):
        raise InputError("files and folders cannot be averaged together. Give one kind.")
    if not folders and output.suffix != ".safetensors":
        raise InputError(f"--output {output}: files give a .safetensors file.")
    require_free(output)


def _read_all(paths: Sequence[Path], activations: Sequence[str] | None) -> "list[Checkpoint]":
    """Return the checkpoints, with what a person says about their activations."""
    from encoder_ablations.encoders.weights.checkpoints import read_checkpoint

    said: list[str | None] = [None] * len(paths)
    if activations is not None:
        said = list(activations)
    if len(said) != len(paths):
        raise InputError(f"--activations has {len(said)} names for {len(paths)} checkpoints.")
    return [read_checkpoint(path, own) for path, own in zip(paths, said, strict=True)]


def _write(
    checkpoints: "Sequence[Checkpoint]", by: Sequence[float], apart: Sequence[float], output: Path
) -> None:
    """Write the average, with what it was made of as remarks in the file."""
    from safetensors.torch import save, save_file

    from encoder_ablations.encoders.weights.averaging import average
    from encoder_ablations.encoders.weights.checkpoints import ACTIVATION

    first = checkpoints[0]
    rows = zip(checkpoints, by, apart, strict=True)
    parts = [
        {"file": each.path.name, "sha256": each.sha256, "weight": share, "distance": distance}
        for each, share, distance in rows
    ]
    remarks = {"format": "pt", "average": json.dumps(parts)}
    known = [each.activation for each in checkpoints if each.activation]
    if known:
        remarks[ACTIVATION] = known[0]
    tensors = {name: value.contiguous() for name, value in average(checkpoints, by).items()}
    if not first.path.is_dir():
        write_bytes(output, save(tensors, remarks))
        return
    with new_folder(output) as folder:
        for path in sorted(first.path.iterdir()):
            if path.is_file() and path.suffix in (".json", ".txt", ".model"):
                shutil.copy(path, folder)
        save_file(tensors, folder / SAFETENSORS, remarks)
