"""``ablate average``: the weighted average of several checkpoints of one network."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.text.vocabulary import load_vocabulary
from encoder_ablations.experiments import options
from encoder_ablations.experiments.prediction.inputs import input_files
from encoder_ablations.experiments.zero_labels.head_options import add_head_options, read_head
from encoder_ablations.utils.device_names import ALLOWED, check_device_name
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import require_free, sha256_of
from encoder_ablations.utils.texts import plural

if TYPE_CHECKING:
    from encoder_ablations.encoders.weights.averaging import Weighting
    from encoder_ablations.encoders.weights.checkpoints import Checkpoint

    Weigh = Callable[[Sequence[Checkpoint]], Weighting]

EXAMPLES = """  ablate average remote_clip.pt geo_clip.pt -o averaged.safetensors
  ablate average clip_a clip_b --by 0.7 0.3 -o averaged     folders of transformers, with text tower
  ablate average clip_a clip_b --images tiles/ --encoder clip_b16 --classes classes.yaml -o averaged
  ablate run study.yaml 'encoders=[{base: clip_b16, weights: averaged.safetensors}]'  use a file
  ablate run study.yaml 'encoders=[{base: clip_b16, weights: averaged}]'           use a folder"""

ABOUT = """Averages the weights of checkpoints that were trained further from the same ones, such as
several CLIPs for aerial images. Files must have the same names and shapes. Checkpoints are refused
if their activations (GELU or QuickGELU) or image normalisations are known to differ, or if they are
too far apart to come from one training. Weights are equal, or yours (--by), or come from unlabelled
images (--images): each checkpoint predicts these images by the names of classes, and the less
entropy its predictions have, the more it weighs (softmax over the checkpoints of minus the mean
entropy in nats). This rule, the checks and the limit are this program's own, not from a paper. A
checkpoint that is surely wrong weighs much, too: look at its masks (ablate zero-shot)."""

LIMIT = 0.5
"""Largest relative distance to the first checkpoint. Two of independent trainings, whose weights
are unrelated, are about √2 apart; further training on other data usually stays below 0.3."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate average --help``."""
    arguments = _parser().parse_args(argv)
    _check_rule(arguments)
    # PyTorch is not needed to show the help
    from encoder_ablations.encoders.weights.average_files import (
        part_line,
        parts_of,
        write_average,
    )
    from encoder_ablations.encoders.weights.averaging import (
        check_compatible,
        check_distances,
        distances,
    )

    output: Path = arguments.output
    _check_output(output, arguments.checkpoints)
    weigh = _by_images(arguments) if arguments.images else _by_hand(arguments)
    checkpoints = _read_all(arguments.checkpoints, arguments.activations)
    check_compatible(checkpoints)
    apart = distances(checkpoints)
    if not arguments.force:
        check_distances(checkpoints, apart, arguments.limit)
    weighting = weigh(checkpoints)
    parts = parts_of(checkpoints, weighting, apart)
    for checkpoint, part in zip(checkpoints, parts, strict=True):
        print(f"{checkpoint.path}: {part_line(checkpoint, part)}")
    write_average(checkpoints, weighting, parts, output)
    print(f"wrote {output}")
    return 0


def _check_rule(arguments: argparse.Namespace) -> None:
    """Check that weights come from one place, and that images have a model and classes.

    Raises:
        InputError: they do not.
    """
    if arguments.images and arguments.by:
        raise InputError("--by and --images both say the weights. Leave out one.")
    lacking = [f"--{name}" for name in ("encoder", "classes") if getattr(arguments, name) is None]
    if arguments.images and lacking:
        raise InputError(
            f"--images also needs {' and '.join(lacking)}: the checkpoints predict the images by "
            "the names of classes."
        )
    if not arguments.images and len(lacking) < 2:
        raise InputError("--encoder and --classes are read with --images only. Add it.")


def _by_hand(arguments: argparse.Namespace) -> "Weigh":
    """Return what gives checkpoints the weights that were said, or equal ones."""
    from encoder_ablations.encoders.weights.averaging import Weighting, shares

    by = shares(arguments.by, len(arguments.checkpoints))
    rule = "equal weights"
    if arguments.by:
        rule = "weights by hand"
    return lambda checkpoints: Weighting(by, {"rule": rule})


def _by_images(arguments: argparse.Namespace) -> "Weigh":
    """Return what gives checkpoints weights by their entropy on images.

    Raises:
        InputError: an option is wrong, or there are no images.
    """
    from encoder_ablations.encoders.weights.averaging import Weighting
    from encoder_ablations.experiments.zero_labels.composition import (
        RULE,
        mean_entropy,
        shares_by_entropy,
        with_own_tower,
    )

    check_device_name(arguments.device)
    vocabulary = load_vocabulary(arguments.classes)
    head = read_head(arguments, vocabulary)
    files = input_files(arguments.images)
    if any(file.is_video for file in files):
        raise InputError("--images takes images, no videos. Leave them out.")
    encoder = load_encoder(arguments.encoder).model_dump(mode="json", exclude_unset=True)

    def weigh(checkpoints: "Sequence[Checkpoint]") -> "Weighting":
        from encoder_ablations.engine.devices import make_accelerator
        from encoder_ablations.engine.inference.spec import InferenceSpec
        from encoder_ablations.experiments.zero_labels.model import predictor_without_run

        device = make_accelerator(arguments.device).device
        entropies = []
        for each in checkpoints:
            own = with_own_tower(head, str(each.path)) if each.path.is_dir() else head
            body = {**encoder, "weights": str(each.file)}
            place = (vocabulary.names, InferenceSpec(), device)
            predictor = predictor_without_run(body, own, *place)
            entropies.append(mean_entropy(predictor, files, each.path.name))
        facts = {
            "rule": RULE,
            "images": len(files),
            "images_sha256": fingerprint([sha256_of(file.path) for file in files]),
            "encoder": encoder,
            "segmenter": head.model_dump(mode="json"),
        }
        return Weighting(shares_by_entropy(entropies), facts, entropies)

    return weigh


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
    images = parser.add_argument_group("weights by unlabelled images")
    images.add_argument(
        "--images",
        nargs="+",
        metavar="IMAGE",
        help="images or folders that each checkpoint predicts; less entropy weighs more",
    )
    add_head_options(images, required=False)
    images.add_argument("--device", default="auto", help=f"{ALLOWED} (default auto)")
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
        names = plural(len(said), "name")
        raise InputError(f"--activations has {names} for {len(paths)} checkpoints. Give one each.")
    return [read_checkpoint(path, own) for path, own in zip(paths, said, strict=True)]
