"""``ablate predict``: masks of new images by a finished run, or by a study's best one."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments import options
from encoder_ablations.experiments.inference_options import add_inference_options, read_inference
from encoder_ablations.experiments.prediction.chosen_runs import TrainedRun, chosen_runs
from encoder_ablations.experiments.prediction.inputs import input_files
from encoder_ablations.utils.device_names import check_device_name
from encoder_ablations.utils.texts import plural

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
