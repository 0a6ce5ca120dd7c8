"""Options of what ``ablate predict`` and ``ablate zero-shot`` write, and what they stand for."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder_ablations.data.datasets.palette import Color
from encoder_ablations.data.intake.raster_reading import READ_AS_IT_IS
from encoder_ablations.experiments.prediction.options import add_explanation_options
from encoder_ablations.experiments.raster_options import add_raster_options, read_reading
from encoder_ablations.utils.errors import InputError, unknown

if TYPE_CHECKING:
    from encoder_ablations.engine.inference.predictor import Predictor
    from encoder_ablations.experiments.prediction.cut_outs import CutOut
    from encoder_ablations.experiments.prediction.outputs import Wanted
    from encoder_ablations.experiments.prediction.raster_output import Maps

OUTPUTS = (
    *("uncertainty", "heatmaps", "probabilities", "polygons", "range", "bands", "masks_only"),
    *("cut_out", "invert", "transparent", "queries", "every"),
    *("grad_cam", "region", "level", "similarity"),
)
"""Options that decide what is written."""


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is written, how rasters are read, and of threads and the device."""
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("predictions"), help="default: predictions"
    )
    parser.add_argument(
        "--uncertainty", action="store_true", help="write pictures of the uncertainty, too"
    )
    parser.add_argument(
        "--heatmaps", action="store_true", help="write a picture of each class's probability, too"
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="write all probabilities, too (npz, GeoTIFF)"
    )
    parser.add_argument(
        "--polygons", action="store_true", help="of rasters: write the classes' areas as GeoJSON"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="of videos: each N-th frame (default 1)"
    )
    parser.add_argument(
        "--masks-only", action="store_true", help="write neither overlays nor the page"
    )
    _add_cut_out_options(parser)
    add_explanation_options(parser)
    add_raster_options(parser)
    parser.add_argument(
        "--threads",
        type=int,
        default=2,
        help="threads that read and write files beside the model (default 2)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")


def _add_cut_out_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cut-out", metavar="CLASS", help="write what is of this class, the rest black, too"
    )
    parser.add_argument("--invert", action="store_true", help="cut out everything but the class")
    parser.add_argument(
        "--transparent", action="store_true", help="the rest is transparent instead of black"
    )
    parser.add_argument(
        "--queries",
        nargs="*",
        metavar="KEY=VALUE",
        help="cut out by queries that are sure of the class: score=0.7 share=0.5 "
        "(mask2former, eomt, query_decoder)",
    )


def output_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that decide what is written."""
    return {name: getattr(arguments, name) for name in OUTPUTS}


def check_outputs(arguments: argparse.Namespace, classes: Sequence[str]) -> None:
    """Refuse options that do not fit together or the classes, before a model is loaded.

    Raises:
        InputError: see there.
    """
    if arguments.threads < 1:
        raise InputError(f"--threads {arguments.threads}: allowed are 1 and more.")
    if arguments.every < 1:
        raise InputError(f"--every {arguments.every}: allowed are 1 (every frame) and more.")
    read_cut_out(arguments, classes)


def read_wanted(arguments: argparse.Namespace, predictor: "Predictor") -> "Wanted":
    """Return what is written of each image beside the mask.

    Raises:
        InputError: an option does not fit the model or the other options.
    """
    from encoder_ablations.experiments.prediction.explanation import read_grad_cam
    from encoder_ablations.experiments.prediction.outputs import Wanted

    if arguments.similarity:
        predictor.only_member("--similarity")
    return Wanted(
        arguments.uncertainty,
        arguments.heatmaps,
        arguments.probabilities,
        read_cut_out(arguments, predictor.classes),
        read_grad_cam(arguments, predictor.classes, predictor),
        arguments.similarity,
        overlays=not arguments.masks_only,
    )


def read_cut_out(arguments: argparse.Namespace, classes: Sequence[str]) -> "CutOut | None":
    """Return what is cut out of every image; None = nothing.

    Raises:
        InputError: an unknown class, or options without ``--cut-out``.
    """
    if arguments.cut_out is None:
        if arguments.invert or arguments.transparent or arguments.queries is not None:
            raise InputError("--invert, --transparent and --queries need --cut-out CLASS.")
        return None
    if arguments.cut_out not in classes:
        raise unknown("class", arguments.cut_out, classes)
    from encoder_ablations.experiments.prediction.cut_outs import CutOut, read_rule

    queries = None
    if arguments.queries is not None:
        queries = read_rule(arguments.queries)
    place = list(classes).index(arguments.cut_out)
    return CutOut(place, arguments.invert, arguments.transparent, queries)


def read_maps(
    arguments: argparse.Namespace, predictor: "Predictor", colors: Sequence[Color]
) -> "Maps | None":
    """Return what writes maps of rasters; None where rasterio is neither installed nor needed.

    Raises:
        InputError: maps are asked for, but rasterio is not installed.
    """
    reading = read_reading(arguments)
    asked = arguments.polygons or reading != READ_AS_IT_IS
    if not asked and find_spec("rasterio") is None:
        return None
    from encoder_ablations.experiments.prediction.raster_output import Maps, MapSettings

    settings = MapSettings(
        reading, arguments.probabilities, arguments.polygons, overlays=not arguments.masks_only
    )
    return Maps(arguments.output, predictor, colors, settings)
