"""Command-line options that say how the numbers of a raster become an image."""

import argparse

from encoder_ablations.data.intake.raster_reading import Range, Reading
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


def add_raster_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--range`` and ``--bands``."""
    parser.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="the numbers that become black and white, for images of more than 8 bits",
    )
    parser.add_argument(
        "--bands",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="an image's red, green and blue band, or the one that is grey, counted from 1 "
        "(default 1 2 3)",
    )


def read_reading(arguments: argparse.Namespace) -> Reading:
    """Return what the options say about images.

    Raises:
        InputError: ``--range`` or ``--bands`` is impossible.
    """
    if len(arguments.bands) not in (0, 1, 3):
        raise InputError(
            f"--bands names {plural(len(arguments.bands), 'band')}: allowed are three, or one of "
            "grey."
        )
    bands = tuple(arguments.bands)
    if arguments.range is None:
        return Reading(bands=bands)
    scale = Range(*arguments.range)
    if not scale.low < scale.high:
        raise InputError(f"--range {scale.low:g} {scale.high:g}: LOW must be less than HIGH.")
    return Reading(scale, bands)
