"""Predict many images into one folder, which can be gone on with."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.prediction.inputs import InputFile
from encoder_ablations.experiments.prediction.outputs import Outputs
from encoder_ablations.experiments.prediction.pipeline import (
    NO_OTHERS,
    THREADS,
    Others,
    Pipeline,
    VideoOutcome,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import as_json, write_json, write_text
from encoder_ablations.utils.progress import Bar
from encoder_ablations.utils.texts import plural

SETTINGS = "prediction.json"
"""Which models and settings a folder's predictions were made with."""


class Outcome(NamedTuple):
    """What happened to the files.

    Attributes:
        done: names of all images that the folder now describes, of those that were asked for.
        problems: a line for each file that could not be used.
        damaged: a line for each video of which only a part could be used.
    """

    done: list[str]
    problems: list[str]
    damaged: list[str]


def begin(folder: Path, settings: dict[str, Any]) -> None:
    """Note what a folder's predictions are made with.

    Args:
        folder: where predictions are written.
        settings: all that decides them, as plain values.

    Raises:
        InputError: the folder holds predictions that were made with others.
    """
    path = folder / SETTINGS
    if not path.exists():
        write_json(path, settings)
        return
    # through JSON, so that tuples and lists are the same
    if json.loads(path.read_text(encoding="utf-8")) != json.loads(as_json(settings)):
        raise InputError(
            f"{folder} holds predictions by other models or settings ({path}). Choose another "
            "--output, or delete the folder."
        )


def predict_files(
    files: Sequence[InputFile],
    predictor: Predictor,
    outputs: Outputs,
    others: Others = NO_OTHERS,
    threads: int = THREADS,
) -> Outcome:
    """Predict every file that is not complete yet; go on behind one that cannot be used.

    Args:
        files: images, rasters and videos.
        predictor: for images.
        outputs: what is written of images.
        others: what is written of rasters and videos.
        threads: that read and write files while the model computes; they change no result.

    Raises:
        StorageError: nothing can be written any more.
    """
    # a file that is named twice is predicted once
    named = {file.name: file for file in files}
    missing = [file for name, file in named.items() if not outputs.is_complete(name)]
    pipeline = Pipeline(predictor, outputs, others, threads)
    with Bar(total=len(named), initial=len(named) - len(missing), unit="file") as bar:
        pipeline.run(missing, bar.update)
    outcome = Outcome([], [], [])
    for name, file in named.items():
        if name in pipeline.problems:
            outcome.problems.append(pipeline.problems[name])
        elif name in pipeline.videos:
            _add_video(outcome, file, pipeline.videos[name])
        else:
            outcome.done.append(name)
    return outcome


def _add_video(outcome: Outcome, file: InputFile, found: VideoOutcome) -> None:
    """Add the frames of a video to what is done, and what is wrong with it."""
    outcome.done.extend(found.names)
    if found.damage is not None:
        frames = plural(len(found.names), "frame")
        outcome.damaged.append(
            f"{file.path} is damaged: {found.damage}. {frames} of it have been predicted."
        )


def write_summaries(outputs: Outputs, names: Sequence[str]) -> list[Path]:
    """Write ``predictions.json`` and ``areas.csv``; return both paths.

    Args:
        outputs: the folder.
        names: of images that are complete.
    """
    described = [
        json.loads(outputs.description(name).read_text(encoding="utf-8")) for name in names
    ]
    everything, table = outputs.folder / "predictions.json", outputs.folder / "areas.csv"
    write_text(everything, as_json(described))
    write_text(table, _areas(described))
    return [everything, table]


def _areas(described: Sequence[dict[str, Any]]) -> str:
    """Return a table of the pixels of each class in each image.

    Its last column is the time of a video's frame in seconds, and is empty for other images.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", "class", "pixels", "share", "seconds"])
    for image in described:
        for label, pixels in image["pixels"].items():
            share = f"{image['share'][label]:.6f}"
            writer.writerow([image["name"], label, pixels, share, image.get("seconds", "")])
    return text.getvalue()
