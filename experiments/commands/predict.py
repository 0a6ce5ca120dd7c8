"""``ablate predict``: masks of new images by a finished run, or by a study's best one."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.engine.inference.spec import InferenceSpec, ViewsSpec
from encoder_ablations.experiments import options
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.prediction.command import named_files, predict_into
from encoder_ablations.experiments.prediction.inputs import InputFile, files_of_split
from encoder_ablations.experiments.prediction.options import (
    add_ensemble_options,
    add_inference_options,
    read_inference,
)
from encoder_ablations.experiments.prediction.output_options import (
    add_output_options,
    check_outputs,
    output_settings,
)
from encoder_ablations.experiments.runs.trained.run import TrainedRun
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.spec import SetLossSettings
from encoder_ablations.utils.device_names import check_device_name
from encoder_ablations.utils.errors import InputError

GPU_BATCH = 8
"""Images or windows per forward pass on a GPU, unless another number is asked for."""
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
    data = runs[0].record.spec.dataset
    check_outputs(arguments, data.classes)
    if arguments.queries is not None:
        _check_queries(spec, runs)
    files = _files(arguments, runs[0])
    # PyTorch is not needed to refuse what is above
    from encoder_ablations.engine.devices import make_accelerator
    from encoder_ablations.experiments.prediction.models import make_predictor

    device = make_accelerator(arguments.device).device
    if arguments.batch is None and device.type == "cuda":
        spec = spec.model_copy(update={"batch": GPU_BATCH})
    predictor = make_predictor(runs, spec, device, arguments.weighting)
    settings = _settings(runs, spec, arguments)
    return predict_into(arguments, files, predictor, colors_of(data), settings, _named(runs))


def _check_queries(spec: InferenceSpec, runs: Sequence[TrainedRun]) -> None:
    """Refuse ``--queries`` before a model is loaded.

    Raises:
        InputError: the head has no queries, or there are several models, views or windows.
    """
    name = runs[0].record.spec.segmenter.name
    with_queries = [key for key, head in BUILT_IN.items() if issubclass(head, SetLossSettings)]
    if name in BUILT_IN and name not in with_queries:
        raise InputError(
            f"--queries: the head {name} of {runs[0].record.run_id} has no queries. Heads with "
            f"queries are {', '.join(with_queries)}. Leave out --queries."
        )
    if len(runs) > 1 or spec.window is not None or spec.views != ViewsSpec():
        raise InputError(
            "--queries are those of one model in one view of the whole image. Leave out --runs, "
            "--tta and --window, or --queries."
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
        help="images, videos, folders (with sub-folders), patterns, or - for paths from stdin",
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
    score = record.score
    if runs[0].val_score is not None:
        score = f"{100 * runs[0].val_score:.1f} % mIoU on val"
    return f"{record.run_id} ({score})"
