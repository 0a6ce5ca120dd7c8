"""``ablate confidence``: how sure finished runs are, and how far that can be relied on."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.confidence.ensembles import (
    Ensemble,
    ensembles_of_study,
    is_study,
    named_ensemble,
)
from encoder_ablations.experiments.prediction.options import add_inference_options, read_inference
from encoder_ablations.utils.device_names import check_device_name
from encoder_ablations.utils.errors import InputError

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate confidence outputs/demo
  ablate confidence outputs/demo --ensembles --alpha 0.05
  ablate confidence outputs/demo/runs/RUN --tta flips=horizontal
  ablate confidence outputs/demo/runs/*seed0* outputs/demo/runs/*seed1*"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate confidence --help``."""
    arguments = _parser().parse_args(argv)
    check_device_name(arguments.device)
    if not 0 < arguments.alpha < 1:
        raise InputError(
            f"--alpha {arguments.alpha:g}: allowed is a share between 0 and 1, e.g. 0.1 for sets "
            "that miss a class on at most 10 % of its pixels."
        )
    inference = read_inference(arguments)
    chosen, problems = _chosen(arguments.folders, arguments.ensembles)
    # PyTorch is not needed to refuse what is above
    from encoder_ablations.engine.devices import make_accelerator
    from encoder_ablations.engine.training.checkpoints import CheckpointError
    from encoder_ablations.experiments.confidence.evaluation import Settings, evaluate_confidence
    from encoder_ablations.experiments.confidence.record import confidence_file
    from encoder_ablations.experiments.confidence.table import confidence_table
    from encoder_ablations.experiments.prediction.models import make_predictor
    from encoder_ablations.experiments.reporting.figures.confidence import save_confidence_figure

    device = make_accelerator(arguments.device).device
    settings = Settings(arguments.alpha, inference)
    for runs in chosen:
        try:
            build = partial(make_predictor, runs, inference, device)
            record = evaluate_confidence(runs, settings, build, device, arguments.again)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        path = confidence_file([run.folder for run in runs])
        figure = save_confidence_figure(record, path)
        print(f"{confidence_table(record, path)}\n  figure: {figure}\n")
    options.print_left_out(problems)
    if problems:
        return LEFT_OUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "confidence",
        "Measures calibration, uncertainty and held miss rates on images that were not learned.",
        EXAMPLES,
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="a study: each of its runs; a run; several runs: together as one ensemble",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=0.1,
        help="miss rate that the sets of classes hold (default 0.1)",
    )
    parser.add_argument(
        "--ensembles",
        action="store_true",
        help="of a study: also measure runs that differ in the seed alone together",
    )
    parser.add_argument(
        "--again", action="store_true", help="measure again where there is a record already"
    )
    add_inference_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    return parser


def _chosen(folders: Sequence[Path], seeds: bool) -> tuple[list[Ensemble], list[str]]:
    """Return what is measured, and a line for each run that cannot be.

    Raises:
        InputError: nothing can be measured, or the folders do not fit together.
    """
    if len(folders) == 1 and is_study(folders[0]):
        return ensembles_of_study(folders[0], seeds)
    if seeds:
        raise InputError("--ensembles is for a study; several runs are one ensemble without it.")
    studies = [folder for folder in folders if is_study(folder)]
    if studies:
        raise InputError(f"{studies[0]} is a study; name one study alone, or runs.")
    return [named_ensemble(folders)], []
