"""``ablate predict``: masks of new images by a finished run, or by a study's best one."""

import argparse
import sys
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
    add_explanation_options,
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
    from encoder_ablations.experiments.prediction.outputs import Outputs, Wanted
    from encoder_ablations.experiments.prediction.raster_output import Maps
    from encoder_ablations.experiments.prediction.video_output import Videos

OUTPUTS = (
    *("uncertainty", "heatmaps", "probabilities", "polygons", "range", "bands"),
    *("cut_out", "invert", "transparent", "queries", "every"),
    *("grad_cam", "region", "level", "similarity"),
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
        Others,
        begin,
        predict_files,
        write_summaries,
    )
    from encoder_ablations.experiments.prediction.gallery import write_gallery
    from encoder_ablations.experiments.prediction.models import make_predictor
    from encoder_ablations.experiments.prediction.outputs import Outputs

    device = make_accelerator(arguments.device).device
    predictor = make_predictor(runs, spec, device, arguments.weighting)
    data = runs[0].record.spec.dataset
    classes, colors = data.classes, colors_of(data)
    maps = _maps(arguments, predictor, colors)
    outputs = Outputs(arguments.output, classes, colors, _wanted(arguments, predictor))
    others = Others(maps, _videos(files, predictor, outputs, arguments.every))
    begin(arguments.output, _settings(runs, spec, arguments))
    print(f"predicting {plural(len(files), 'file')} by {_named(runs)}")
    outcome = predict_files(files, predictor, outputs, others)
    options.print_left_out(outcome.problems)
    for line in outcome.damaged:
        print(line, file=sys.stderr)
    # the folder may hold images of an earlier call, too
    names = outputs.complete()
    for path in write_summaries(outputs, names):
        print(f"wrote {path}")
    gallery = write_gallery(outputs, names, _named(runs))
    print(f"wrote {gallery} ({gallery.stat().st_size / 1e6:.1f} MB)")
    print(f"masks and overlays of {plural(len(names), 'image')}: {arguments.output}")
    if outcome.problems:
        return LEFT_OUT
    # what was damaged is predicted in part
    return int(bool(outcome.damaged))


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


def _videos(
    files: Sequence[InputFile], predictor: "Predictor", outputs: "Outputs", every: int
) -> "Videos | None":
    """Return what predicts videos; None where no file is one.

    Raises:
        InputError: PyAV is not installed, or ``every`` is not at least 1.
    """
    if every < 1:
        raise InputError(f"--every {every}: allowed are 1 (every frame) and more.")
    if not any(file.is_video for file in files):
        return None
    from encoder_ablations.experiments.prediction.video_output import Videos

    return Videos(predictor, outputs, every)


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
        help="images, videos, folders (with sub-folders), patterns, or - for paths from stdin",
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
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="of videos: each N-th frame (default 1)"
    )
    _add_cut_out_options(parser)
    add_explanation_options(parser)
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


def _wanted(arguments: argparse.Namespace, predictor: "Predictor") -> "Wanted":
    """Return what is written of each image beside mask and overlay.

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
        _cut_out(arguments, predictor.classes),
        read_grad_cam(arguments, predictor.classes, predictor),
        arguments.similarity,
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
    score = f"{100 * runs[0].val_score:.1f} % mIoU on val"
    return f"{runs[0].record.run_id} ({score})"
