"""Predict many images into one folder, which can be gone on with."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.prediction.inputs import InputFile
from encoder_ablations.experiments.prediction.outputs import Outputs
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import StorageError, as_json, write_json, write_text
from encoder_ablations.utils.progress import Bar

SETTINGS = "prediction.json"
"""Which models and settings a folder's predictions were made with."""


class Outcome(NamedTuple):
    """What happened to the files.

    Attributes:
        done: names of all images that the folder now describes, of those that were asked for.
        problems: a line for each file that could not be used.
    """

    done: list[str]
    problems: list[str]


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


def predict_files(files: Sequence[InputFile], predictor: Predictor, outputs: Outputs) -> Outcome:
    """Predict every file that is not complete yet; go on behind one that cannot be used."""
    problems = []
    done = []
    with Bar(total=len(files), unit="image") as bar:
        for file in files:
            try:
                if not outputs.is_complete(file.name):
                    image = read_image(file.path)
                    found = predictor.predict(image, keep_probabilities=False)
                    outputs.write(file.name, file.path, image, found)
                done.append(file.name)
            except StorageError:
                raise
            except InputError as error:
                problems.append(str(error))
            bar.update()
    return Outcome(done, problems)


def write_summaries(outputs: Outputs, names: Sequence[str]) -> list[Path]:
    """Write ``predictions.json`` and ``areas.csv`` of the images; return both paths."""
    described = [
        json.loads(outputs.description(name).read_text(encoding="utf-8")) for name in names
    ]
    everything, table = outputs.folder / "predictions.json", outputs.folder / "areas.csv"
    write_text(everything, as_json(described))
    write_text(table, _areas(described))
    return [everything, table]


def _areas(described: Sequence[dict[str, Any]]) -> str:
    """Return a table of the pixels of each class in each image."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", "class", "pixels", "share"])
    for image in described:
        for label, pixels in image["pixels"].items():
            writer.writerow([image["name"], label, pixels, f"{image['share'][label]:.6f}"])
    return text.getvalue()
