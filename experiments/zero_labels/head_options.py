"""Options of commands that say which head finds classes by texts, and by which texts."""

import argparse
import sys
from pathlib import Path

from encoder_ablations.encoders.text.vocabulary import Vocabulary, warning_of_placeholders
from encoder_ablations.experiments import options
from encoder_ablations.experiments.zero_labels.queries import with_queries
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.config import parse_overrides
from encoder_ablations.utils.errors import InputError


def add_head_options(parser: argparse._ActionsContainer, required: bool = True) -> None:
    """Add ``--encoder``, ``--classes``, ``--method``, ``--segmenter`` and ``--set``.

    Args:
        parser: of a command, or a group of its options.
        required: whether encoder and classes must be given.
    """
    parser.add_argument("--encoder", required=required, help=options.ENCODER_HELP)
    parser.add_argument(
        "--classes",
        required=required,
        type=Path,
        help="a YAML of lines  class: [text, text], or a list",
    )
    parser.add_argument("--method", help="of the head, as 'ablate heads zero_shot' lists them")
    parser.add_argument(
        "--segmenter", default="zero_shot", help="a head that needs no labels (default zero_shot)"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="further settings of the head"
    )


def read_head(arguments: argparse.Namespace, vocabulary: Vocabulary) -> SegmenterSpec:
    """Return the head and its texts; texts that are no words are warned of.

    Args:
        arguments: with the options of :func:`add_head_options`.
        vocabulary: the classes and their texts.

    Raises:
        InputError: there is no such head or setting, or the head needs labels.
    """
    changes = parse_overrides(arguments.set)
    if arguments.method is not None:
        changes["method"] = arguments.method
    if "vocabulary" in changes or "queries" in changes:
        raise InputError("--classes says the texts of the classes; leave them out of --set.")
    if load_segmenter(arguments.segmenter).learning != "nothing":
        raise InputError(
            f"--segmenter {arguments.segmenter} learns from labels. Use a head that needs none "
            "(ablate heads: learns nothing), or ablate train."
        )
    given = [f"--method {arguments.method}"] if arguments.method is not None else []
    if arguments.set:
        given.append(f"--set {' '.join(arguments.set)}")
    # --classes alone changes nothing about the head that its file could be blamed for
    head = load_segmenter(
        arguments.segmenter,
        {**changes, "vocabulary": vocabulary.texts},
        " ".join(given) or f"--segmenter {arguments.segmenter}",
    )
    warning = warning_of_placeholders(vocabulary.queries)
    if warning is not None:
        print(f"warning: {warning}", file=sys.stderr)
    return with_queries(head, vocabulary.names)
