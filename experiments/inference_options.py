"""Options of windows, test-time views and ensembles, which several commands share."""

import argparse
from typing import Any

from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.utils.config import build


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`read_inference` reads."""
    parser.add_argument(
        "--window", type=int, help="side of square windows in pixels, for larger images"
    )
    parser.add_argument(
        "--overlap", type=float, default=0.5, help="share that windows overlap by (default 0.5)"
    )
    parser.add_argument("--batch", type=int, default=1, help="windows per forward pass (default 1)")
    parser.add_argument(
        "--tta",
        nargs="+",
        default=[],
        metavar="VIEW",
        help="test-time views: flips=horizontal,vertical turns scales=0.75,1.25 "
        "brightness=0.9,1.1 contrast=0.9,1.1",
    )
    parser.add_argument(
        "--combine",
        choices=("mean", "max", "vote"),
        default="mean",
        help="how views and models are combined (default mean)",
    )


def read_inference(arguments: argparse.Namespace) -> InferenceSpec:
    """Return what the options say about windows and views.

    Raises:
        InputError: a value is not allowed.
    """
    content = {
        "window": arguments.window,
        "overlap": arguments.overlap,
        "batch": arguments.batch,
        "views": dict(_view(text) for text in arguments.tta),
        "combine": arguments.combine,
    }
    return build(InferenceSpec, content, "--window, --overlap, --batch, --tta or --combine")


def _view(text: str) -> tuple[str, Any]:
    """Return ``flips=horizontal,vertical`` as a key and a list, and ``turns`` as a key and True."""
    key, equals, values = text.partition("=")
    if not equals:
        return key, True
    return key, values.split(",")
