"""Command-line options of a prediction: windows, views, how they are combined, clean-up."""

import argparse
from collections.abc import Sequence
from typing import Any

from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

VIEW_LISTS = ("flips", "scales", "brightness", "contrast")
"""Keys of ``--tta`` whose value is a list."""


def add_ensemble_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--runs`` and ``--weighting``."""
    parser.add_argument(
        "--runs",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of a study: the runs whose names begin so, together as an ensemble",
    )
    parser.add_argument(
        "--weighting",
        choices=("equal", "validation"),
        default="equal",
        help="how the runs of an ensemble count (default equal)",
    )


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`read_inference` reads."""
    parser.add_argument(
        "--window", type=int, help="side of square windows in pixels, for larger images"
    )
    parser.add_argument(
        "--overlap", type=float, default=0.5, help="share that windows overlap by (default 0.5)"
    )
    parser.add_argument(
        "--batch",
        type=int,
        help="windows, or images of one size, per forward pass (default 1; predict on a GPU: 8)",
    )
    parser.add_argument(
        "--tta",
        nargs="+",
        default=[],
        metavar="VIEW",
        help="test-time views: flips=horizontal,vertical turns scales=0.75,1.25 "
        "brightness=0.9,1.1 contrast=0.9,1.1",
    )
    parser.add_argument(
        "--refine",
        nargs="*",
        metavar="KEY=VALUE",
        help="move edges onto the image's by a guided filter: radius=8 epsilon=0.001",
    )
    parser.add_argument(
        "--post",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="clean the mask: opening.CLASS=2 closing.CLASS=2 smallest_area.CLASS=100 "
        "largest_hole.all=50 largest_only=CLASS",
    )
    parser.add_argument(
        "--combine",
        choices=("mean", "max", "vote"),
        default="mean",
        help="how views and models are combined (default mean)",
    )


def add_explanation_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--grad-cam``, ``--region``, ``--level`` and ``--similarity``."""
    parser.add_argument(
        "--grad-cam", metavar="CLASS", help="write pictures of what speaks for the class, too"
    )
    parser.add_argument(
        "--region",
        metavar="X0,Y0,X1,Y1",
        help="of --grad-cam: the pixels that are explained, or one pixel X,Y (default: where the "
        "class is predicted)",
    )
    parser.add_argument(
        "--level",
        metavar="NAME",
        help="of --grad-cam: a level of the encoder, e.g. p3 (default: the coarsest one)",
    )
    parser.add_argument(
        "--similarity",
        action="store_true",
        help="the gallery shows which patches the encoder takes for similar to the clicked one",
    )


def read_inference(arguments: argparse.Namespace) -> InferenceSpec:
    """Return what the options say about windows and views.

    Raises:
        InputError: a value is not allowed.
    """
    content = {
        "window": arguments.window,
        "overlap": arguments.overlap,
        "views": dict(_setting(text, VIEW_LISTS) for text in arguments.tta),
        "combine": arguments.combine,
        "postprocess": _nested(arguments.post),
    }
    if arguments.batch is not None:
        content["batch"] = arguments.batch
    if arguments.refine is not None:
        content["refine"] = dict(_setting(text) for text in arguments.refine)
    return build(InferenceSpec, content, "the options of the prediction")


def _setting(text: str, lists: Sequence[str] = ()) -> tuple[str, Any]:
    """Return ``KEY=VALUE`` as both, and ``KEY`` alone as the key and True.

    Args:
        text: one argument.
        lists: keys whose value is a list, as in ``flips=horizontal,vertical``.
    """
    key, equals, value = text.partition("=")
    if not equals:
        return key, True
    if key in lists:
        return key, value.split(",")
    return key, value


def _nested(texts: Sequence[str]) -> dict[str, Any]:
    """Return ``KEY.CLASS=NUMBER`` as {KEY: {CLASS: NUMBER}}.

    Raises:
        InputError: a number is given to a key that takes classes.
    """
    found: dict[str, Any] = {}
    for text in texts:
        path, value = _setting(text, ("largest_only",))
        key, dot, label = path.partition(".")
        if dot and key == "largest_only":
            raise InputError(f"--post {text}: write largest_only=CLASS, or several: CLASS,CLASS.")
        if dot:
            found.setdefault(key, {})[label] = value
        else:
            found[key] = value
    return found
