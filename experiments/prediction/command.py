"""What ``ablate predict`` and ``ablate zero-shot`` share: output options, and the prediction."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder_ablations.data.datasets.palette import Color
from encoder_ablations.data.intake.raster_reading import READ_AS_IT_IS
from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.prediction.inputs import InputFile, input_files
from encoder_ablations.experiments.raster_options import add_raster_options, read_reading
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.texts import plural

if TYPE_CHECKING:
    from encoder_ablations.engine.inference.predictor import Predictor
    from encoder_ablations.experiments.prediction.cut_outs import CutOut
    from encoder_ablations.experiments.prediction.raster_output import Maps

OUTPUTS = (
    *("uncertainty", "heatmaps", "probabilities", "polygons", "range", "bands"),
    *("cut_out", "invert", "transparent", "queries"),
)
"""Options that decide what is written."""


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is written, how rasters are read, and the device."""
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
    _add_cut_out_options(parser)
    add_raster_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")


def output_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that decide what is written."""
    return {name: getattr(arguments, name) for name in OUTPUTS}


def named_files(arguments: argparse.Namespace) -> list[InputFile]:
    """Return the images that are named.

    Raises:
        InputError: a file does not exist, or the output lies among the images.
    """
    output = arguments.output.resolve()
    for folder in filter(Path.is_dir, map(Path, arguments.inputs)):
        if output.is_relative_to(folder.resolve()):
            raise InputError(
                f"--output {arguments.output} lies in {folder}, whose images are predicted: its "
                "masks would be predicted the next time. Choose a folder elsewhere."
            )
    return input_files(arguments.inputs)


def predict_into(
    arguments: argparse.Namespace,
    files: Sequence[InputFile],
    predictor: "Predictor",
    colors: Sequence[Color],
    settings: dict[str, Any],
    named: str,
) -> int:
    """Predict files into a folder and return the exit code.

    Args:
        arguments: the options of the command.
        files: what is predicted.
        predictor: the model or models.
        colors: RGB of each class.
        settings: all that decides what is written.
        named: what the gallery calls the models.
    """
    # not above: these import PyTorch
    from encoder_ablations.experiments.prediction.folder import (
        begin,
        predict_files,
        write_summaries,
    )
    from encoder_ablations.experiments.prediction.gallery import write_gallery
    from encoder_ablations.experiments.prediction.outputs import Outputs, Wanted

    classes = predictor.classes
    maps = _maps(arguments, predictor, colors)
    cut_out = _cut_out(arguments, classes)
    wanted = Wanted(arguments.uncertainty, arguments.heatmaps, arguments.probabilities, cut_out)
    begin(arguments.output, settings)
    print(f"predicting {plural(len(files), 'image')} by {named}")
    outputs = Outputs(arguments.output, classes, colors, wanted)
    outcome = predict_files(files, predictor, outputs, maps)
    options.print_left_out(outcome.problems)
    # the folder may hold images of an earlier call, too
    names = outputs.complete()
    for path in [*write_summaries(outputs, names), write_gallery(outputs, names, named)]:
        print(f"wrote {path}")
    print(f"masks and overlays of {plural(len(names), 'image')}: {arguments.output}")
    if outcome.problems:
        return LEFT_OUT
    return 0


def _maps(
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

    settings = MapSettings(reading, arguments.probabilities, arguments.polygons)
    return Maps(arguments.output, predictor, colors, settings)


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


def _cut_out(arguments: argparse.Namespace, classes: Sequence[str]) -> "CutOut | None":
    """Return what is cut out of every image; None = nothing.

    Raises:
        InputError: an unknown class, or options without ``--cut-out``.
    """
    from encoder_ablations.experiments.prediction.cut_outs import CutOut, read_rule

    if arguments.cut_out is None:
        if arguments.invert or arguments.transparent or arguments.queries is not None:
            raise InputError("--invert, --transparent and --queries need --cut-out CLASS.")
        return None
    if arguments.cut_out not in classes:
        raise unknown("class", arguments.cut_out, classes)
    queries = None
    if arguments.queries is not None:
        queries = read_rule(arguments.queries)
    place = list(classes).index(arguments.cut_out)
    return CutOut(place, arguments.invert, arguments.transparent, queries)
