"""What ``ablate predict`` and ``ablate zero-shot`` do once they have a model."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder_ablations.data.datasets.palette import Color
from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.prediction.inputs import InputFile, input_files
from encoder_ablations.experiments.prediction.output_options import read_maps, read_wanted
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

if TYPE_CHECKING:
    from encoder_ablations.engine.inference.predictor import Predictor
    from encoder_ablations.experiments.prediction.outputs import Outputs
    from encoder_ablations.experiments.prediction.video_output import Videos


def named_files(arguments: argparse.Namespace) -> list[InputFile]:
    """Return the files that are named.

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
    )
    from encoder_ablations.experiments.prediction.outputs import Outputs
    from encoder_ablations.experiments.prediction.pipeline import Others

    wanted = read_wanted(arguments, predictor)
    outputs = Outputs(arguments.output, predictor.classes, colors, wanted)
    maps = read_maps(arguments, predictor, colors)
    others = Others(maps, _videos(files, predictor, outputs, arguments.every))
    begin(arguments.output, settings)
    print(f"predicting {plural(len(files), 'file')} by {named}")
    outcome = predict_files(files, predictor, outputs, others, arguments.threads)
    options.print_left_out(outcome.problems)
    for line in outcome.damaged:
        print(line, file=sys.stderr)
    _summarize(outputs, named)
    if outcome.problems:
        return LEFT_OUT
    # what was damaged is predicted in part
    return int(bool(outcome.damaged))


def _summarize(outputs: "Outputs", named: str) -> None:
    """Write tables and the page of all images in the folder, also those of earlier calls."""
    from encoder_ablations.experiments.prediction.folder import write_summaries
    from encoder_ablations.experiments.prediction.gallery import write_gallery

    names = outputs.complete()
    for path in write_summaries(outputs, names):
        print(f"wrote {path}")
    kinds = "masks"
    if outputs.wanted.overlays:
        kinds = "masks and overlays"
        page = write_gallery(outputs, names, named)
        print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
    print(f"{kinds} of {plural(len(names), 'image')}: {outputs.folder}")


def _videos(
    files: Sequence[InputFile], predictor: "Predictor", outputs: "Outputs", every: int
) -> "Videos | None":
    """Return what predicts videos; None where no file is one.

    Raises:
        InputError: PyAV is not installed.
    """
    if not any(file.is_video for file in files):
        return None
    from encoder_ablations.experiments.prediction.video_output import Videos

    return Videos(predictor, outputs, every)
