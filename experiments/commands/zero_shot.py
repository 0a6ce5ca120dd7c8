"""``ablate zero-shot``: masks of images by a head that needs no labels, without any run."""

import argparse
from collections.abc import Sequence
from typing import Any

from encoder_ablations.data.datasets.palette import palette
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.text.vocabulary import load_vocabulary
from encoder_ablations.experiments import options
from encoder_ablations.experiments.prediction.command import named_files, predict_into
from encoder_ablations.experiments.prediction.options import add_inference_options, read_inference
from encoder_ablations.experiments.prediction.output_options import (
    add_output_options,
    check_outputs,
    output_settings,
)
from encoder_ablations.experiments.zero_labels.head_options import add_head_options, read_head
from encoder_ablations.segmenters.references import CHANCE, is_chance
from encoder_ablations.utils.device_names import check_device_name
from encoder_ablations.utils.errors import InputError

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""
EXAMPLES = """  ablate zero-shot photos/ --encoder clip_b16 --method naclip --classes classes.yaml
  ablate zero-shot photo.jpg --encoder clip_b16 --classes classes.yaml --window 224"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate zero-shot --help``."""
    arguments = _parser().parse_args(argv)
    check_device_name(arguments.device)
    spec = read_inference(arguments)
    if not arguments.inputs:
        raise InputError("name images or folders to predict.")
    vocabulary = load_vocabulary(arguments.classes)
    check_outputs(arguments, vocabulary.names)
    head = read_head(arguments, vocabulary)
    files = named_files(arguments)
    # PyTorch is not needed to refuse what is above
    from encoder_ablations.engine.devices import make_accelerator
    from encoder_ablations.experiments.zero_labels.model import predictor_without_run

    device = make_accelerator(arguments.device).device
    predictor = predictor_without_run(arguments.encoder, head, vocabulary.names, spec, device)
    settings: dict[str, Any] = {
        "encoder": arguments.encoder,
        "segmenter": head.model_dump(mode="json"),
        "inference": spec.model_dump(mode="json"),
        **output_settings(arguments),
    }
    named = f"{arguments.encoder} with {head.title}, without labels"
    if is_chance(head, load_encoder(arguments.encoder)):
        named = f"{named}. {CHANCE.removesuffix('.')}"
    return predict_into(
        arguments, files, predictor, palette(len(vocabulary.names)), settings, named
    )


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "zero-shot", "Predicts masks of images from the names of classes alone.", EXAMPLES
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="IMAGE",
        help="images, folders (with sub-folders), patterns, or - for paths from stdin",
    )
    add_head_options(parser)
    add_inference_options(parser)
    add_output_options(parser)
    return parser
