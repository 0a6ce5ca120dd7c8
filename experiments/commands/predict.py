"""``ablate predict``: masks of new images by a finished run, or by a study's best one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments import options
from encoder_ablations.experiments.prediction.chosen_runs import TrainedRun, chosen_runs
from encoder_ablations.experiments.prediction.inputs import input_files
from encoder_ablations.utils.config import build
from encoder_ablations.utils.device_names import check_device_name
from encoder_ablations.utils.texts import plural

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate predict outputs/demo photos/ -o predictions
  ablate predict outputs/demo/runs/RUN photo.jpg --window 512 --overlap 0.5
  ablate predict outputs/demo photo.jpg --runs 'EfficientNet*100pct' --weighting validation
  ablate predict outputs/demo photo.jpg --tta flips=horizontal scales=0.75,1.25
  find photos -name '*.jpg' | ablate predict outputs/demo -"""

VIEW_LISTS = ("flips", "scales", "brightness", "contrast")
"""Keys of ``--tta`` whose value is a list."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate predict --help``."""
    arguments = _parser().parse_args(argv)
    check_device_name(arguments.device)
    spec = read_inference(arguments)
    runs = chosen_runs(arguments.model, arguments.runs)
    files = input_files(arguments.inputs)
    # PyTorch is not needed to refuse what is above
    from encoder_ablations.engine.devices import make_accelerator
    from encoder_ablations.experiments.prediction.folder import (
        begin,
        predict_files,
        write_summaries,
    )
    from encoder_ablations.experiments.prediction.models import make_predictor
    from encoder_ablations.experiments.prediction.outputs import Outputs

    device = make_accelerator(arguments.device).device
    predictor = make_predictor(runs, spec, device, arguments.weighting)
    begin(arguments.output, _settings(runs, spec, arguments.weighting))
    print(f"predicting {plural(len(files), 'image')} by {_named(runs)}")
    outputs = Outputs(arguments.output, colors_of(runs[0].record.spec.dataset))
    outcome = predict_files(files, predictor, outputs)
    for line in outcome.problems:
        print(f"left out: {line}", file=sys.stderr)
    for path in write_summaries(outputs, outcome.done):
        print(f"wrote {path}")
    print(f"masks and overlays of {plural(len(outcome.done), 'image')}: {arguments.output}")
    if outcome.problems:
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "predict", "Predicts the class of every pixel of new images.", EXAMPLES
    )
    parser.add_argument(
        "model", type=Path, help="folder of a finished run, or of a study: its best run on val"
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="images, folders (with sub-folders), patterns, or - for paths from stdin",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("predictions"), help="default: predictions"
    )
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
    add_inference_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    return parser


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


def read_inference(arguments: argparse.Namespace) -> InferenceSpec:
    """Return what the options say about windows and views.

    Raises:
        InputError: a value is not allowed.
    """
    content = {
        "window": arguments.window,
        "overlap": arguments.overlap,
        "batch": arguments.batch,
        "views": dict(_setting(text, VIEW_LISTS) for text in arguments.tta),
        "combine": arguments.combine,
        "postprocess": _nested(arguments.post),
    }
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
    """Return ``KEY.CLASS=NUMBER`` as {KEY: {CLASS: NUMBER}}."""
    found: dict[str, Any] = {}
    for text in texts:
        path, value = _setting(text, ("largest_only",))
        key, dot, label = path.partition(".")
        if dot:
            found.setdefault(key, {})[label] = value
        else:
            found[key] = value
    return found


def _settings(runs: Sequence[TrainedRun], spec: InferenceSpec, weighting: str) -> dict[str, Any]:
    return {
        "runs": [run.record.run_id for run in runs],
        "weighting": weighting,
        "inference": spec.model_dump(mode="json"),
    }


def _named(runs: Sequence[TrainedRun]) -> str:
    if len(runs) > 1:
        return f"an ensemble of {len(runs)} runs"
    score = f"{100 * runs[0].val_score:.1f} % mIoU on val"
    return f"{runs[0].record.run_id} ({score})"
