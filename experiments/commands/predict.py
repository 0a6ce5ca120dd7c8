"""``ablate predict``: masks of new images by a finished run, or by a study's best one."""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder_ablations.data.datasets.palette import Color, colors_of
from encoder_ablations.data.intake.raster_reading import READ_AS_IT_IS
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.prediction.chosen_runs import TrainedRun, chosen_runs
from encoder_ablations.experiments.prediction.inputs import InputFile, files_of_split, input_files
from encoder_ablations.experiments.prediction.options import (
    add_ensemble_options,
    add_inference_options,
    read_inference,
)
from encoder_ablations.experiments.raster_options import add_raster_options, read_reading
from encoder_ablations.utils.device_names import check_device_name
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
RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate predict outputs/demo photos/ -o predictions
  ablate predict outputs/demo/runs/RUN photo.jpg --window 512 --overlap 0.5
  ablate predict outputs/demo photo.jpg --runs 'EfficientNet*100pct' --weighting validation
  ablate predict outputs/demo photo.jpg --tta flips=horizontal scales=0.75,1.25
  find photos -name '*.jpg' | ablate predict outputs/demo -"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate predict --help``."""
    arguments = _parser().parse_args(argv)
    check_device_name(arguments.device)
    spec = read_inference(arguments)
    runs = chosen_runs(arguments.model, arguments.runs)
    files = _files(arguments, runs[0])
    # PyTorch is not needed to refuse what is above
    from encoder_ablations.engine.devices import make_accelerator
    from encoder_ablations.experiments.prediction.folder import (
        begin,
        predict_files,
        write_summaries,
    )
    from encoder_ablations.experiments.prediction.gallery import write_gallery
    from encoder_ablations.experiments.prediction.models import make_predictor
    from encoder_ablations.experiments.prediction.outputs import Outputs, Wanted

    device = make_accelerator(arguments.device).device
    predictor = make_predictor(runs, spec, device, arguments.weighting)
    data = runs[0].record.spec.dataset
    classes, colors = data.classes, colors_of(data)
    maps = _maps(arguments, predictor, colors)
    cut_out = _cut_out(arguments, classes)
    wanted = Wanted(arguments.uncertainty, arguments.heatmaps, arguments.probabilities, cut_out)
    begin(arguments.output, _settings(runs, spec, arguments))
    print(f"predicting {plural(len(files), 'image')} by {_named(runs)}")
    outputs = Outputs(arguments.output, classes, colors, wanted)
    outcome = predict_files(files, predictor, outputs, maps)
    options.print_left_out(outcome.problems)
    # the folder may hold images of an earlier call, too
    names = outputs.complete()
    for path in [*write_summaries(outputs, names), write_gallery(outputs, names, _named(runs))]:
        print(f"wrote {path}")
    print(f"masks and overlays of {plural(len(names), 'image')}: {arguments.output}")
    if outcome.problems:
        return LEFT_OUT
    return 0


def _files(arguments: argparse.Namespace, run: TrainedRun) -> list[InputFile]:
    """Return what is predicted.

    Raises:
        InputError: nothing is named, a file does not exist, or there is no such split.
    """
    if bool(arguments.inputs) == (arguments.split is not None):
        raise InputError("name images or folders to predict, or say --split; one of the two.")
    if arguments.split is not None:
        return files_of_split(run.record.spec.dataset, arguments.split)
    output = arguments.output.resolve()
    for folder in filter(Path.is_dir, map(Path, arguments.inputs)):
        if output.is_relative_to(folder.resolve()):
            raise InputError(
                f"--output {arguments.output} lies in {folder}, whose images are predicted: its "
                "masks would be predicted the next time. Choose a folder elsewhere."
            )
    return input_files(arguments.inputs)


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


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "predict", "Predicts the class of every pixel of new images.", EXAMPLES
    )
    parser.add_argument(
        "model", type=Path, help="folder of a finished run, or of a study: its best run on val"
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="images, folders (with sub-folders), patterns, or - for paths from stdin",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("predictions"), help="default: predictions"
    )
    parser.add_argument(
        "--split", help="predict train, val or test of the run's own dataset, with scores"
    )
    add_ensemble_options(parser)
    add_inference_options(parser)
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
    return parser


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


def _settings(
    runs: Sequence[TrainedRun], spec: InferenceSpec, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return all that decides what is in the output folder."""
    return {
        "runs": [run.record.run_id for run in runs],
        "weighting": arguments.weighting,
        "inference": spec.model_dump(mode="json"),
        **{name: getattr(arguments, name) for name in OUTPUTS},
    }


def _named(runs: Sequence[TrainedRun]) -> str:
    if len(runs) > 1:
        return f"an ensemble of {len(runs)} runs"
    record = runs[0].record
    score = f"{100 * runs[0].val_score:.1f} % mIoU on val"
    if record.convergence is None:
        score = record.score
    return f"{record.run_id} ({score})"
