"""``ablate predict``: masks of new images by a finished run, or by a study's best one."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments import options
from encoder_ablations.experiments.prediction.chosen_runs import TrainedRun, chosen_runs
from encoder_ablations.experiments.prediction.command import (
    add_output_options,
    named_files,
    output_settings,
    predict_into,
)
from encoder_ablations.experiments.prediction.inputs import InputFile, files_of_split
from encoder_ablations.experiments.prediction.options import (
    add_ensemble_options,
    add_inference_options,
    read_inference,
)
from encoder_ablations.utils.device_names import check_device_name
from encoder_ablations.utils.errors import InputError

if TYPE_CHECKING:
    pass

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
    from encoder_ablations.experiments.prediction.models import make_predictor

    device = make_accelerator(arguments.device).device
    predictor = make_predictor(runs, spec, device, arguments.weighting)
    colors = colors_of(runs[0].record.spec.dataset)
    return predict_into(
        arguments, files, predictor, colors, _settings(runs, spec, arguments), _named(runs)
    )


def _files(arguments: argparse.Namespace, run: TrainedRun) -> list[InputFile]:
    """Return what is predicted.

    Raises:
        InputError: nothing is named, a file does not exist, or there is no such split.
    """
    if bool(arguments.inputs) == (arguments.split is not None):
        raise InputError("name images or folders to predict, or say --split; one of the two.")
    if arguments.split is not None:
        return files_of_split(run.record.spec.dataset, arguments.split)
    return named_files(arguments)


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
        "--split", help="predict train, val or test of the run's own dataset, with scores"
    )
    add_ensemble_options(parser)
    add_inference_options(parser)
    add_output_options(parser)
    return parser


def _settings(
    runs: Sequence[TrainedRun], spec: InferenceSpec, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return all that decides what is in the output folder."""
    return {
        "runs": [run.record.run_id for run in runs],
        "weighting": arguments.weighting,
        "inference": spec.model_dump(mode="json"),
        **output_settings(arguments),
    }


def _named(runs: Sequence[TrainedRun]) -> str:
    if len(runs) > 1:
        return f"an ensemble of {len(runs)} runs"
    record = runs[0].record
    score = f"{100 * runs[0].val_score:.1f} % mIoU on val"
    if record.convergence is None:
        score = record.score
    return f"{record.run_id} ({score})"
