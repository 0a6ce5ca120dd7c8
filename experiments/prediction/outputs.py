"""What is written about one predicted image."""

import io
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from encoder_ablations.data.datasets.palette import Color, colorize
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.metrics import mean_iou, number_or_none, pixel_accuracy
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.prediction.cut_outs import CutOut
from encoder_ablations.utils.files import write_bytes, write_with

ALPHA = 0.5
"""Opacity of the classes' colours in an overlay."""
BAND = 64
"""Rows of an overlay that are computed together."""


class Wanted(NamedTuple):
    """What is written of an image beside mask and overlay.

    Attributes:
        uncertainty: a picture of the uncertainty, bright = uncertain.
        heatmaps: a picture of each class's probability.
        probabilities: all probabilities as a compressed NumPy file of float16.
        cut_out: the pixels of one class; None = they are not cut out.
        overlays: the image under the classes' colours.
    """

    uncertainty: bool = False
    heatmaps: bool = False
    probabilities: bool = False
    cut_out: CutOut | None = None
    overlays: bool = True


MASK_AND_OVERLAY = Wanted()


class Outputs:
    """The files of one folder of predictions.

    The description of an image is written last: an image that has one is complete.

    Args:
        folder: where they lie.
        classes: names of the K classes.
        colors: of the classes.
        wanted: what is written beside mask and overlay.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        colors: Sequence[Color],
        wanted: Wanted = MASK_AND_OVERLAY,
    ) -> None:
        self.folder = folder
        self.classes = tuple(classes)
        self.colors = tuple(colors)
        self.wanted = wanted

    @property
    def needs_probabilities(self) -> bool:
        """Whether the probabilities of all classes are needed, which take much memory."""
        return self.wanted.heatmaps or self.wanted.probabilities

    def description(self, name: str) -> Path:
        """Return the file that describes an image."""
        return self.folder / "json" / f"{name}.json"

    def complete(self) -> list[str]:
        """Return the names of all images that are complete, in alphabetical order."""
        folder = self.folder / "json"
        return sorted(
            path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.json")
        )

    def is_complete(self, name: str) -> bool:
        """Return whether everything about an image has been written."""
        return self.description(name).exists()

    def cut_out(
        self, sample: Sample, prediction: Prediction, predictor: Predictor
    ) -> Image.Image | None:
        """Return what is cut out of an image; None = nothing is wanted.

        Raises:
            InputError: queries are to tell what is cut out, and there are none.
        """
        if self.wanted.cut_out is None:
            return None
        return self.wanted.cut_out.of(sample.image, prediction, predictor)

    def write(
        self, name: str, sample: Sample, prediction: Prediction, cut_out: Image.Image | None = None
    ) -> None:
        """Write the mask, the overlay, the truth if there is one, and what else is wanted.

        Args:
            name: of the files.
            sample: the image.
            prediction: of the image, with probabilities where they are needed.
            cut_out: see :meth:`cut_out`.
        """
        if cut_out is not None:
            write_image(self.path("cut_outs", name, "png"), cut_out)
        self._write_ids("masks", name, prediction.mask)
        if sample.mask is not None:
            self._write_ids("truth", name, sample.mask.astype(prediction.mask.dtype))
        if self.wanted.overlays:
            overlay = Image.fromarray(overlaid(sample.image, prediction.mask, self.colors))
            write_image(self.path("overlays", name, "jpg"), overlay)
        if self.wanted.uncertainty:
            picture = heat_picture(prediction.uncertainty)
            write_image(self.path("uncertainty", name, "png"), picture)
        probabilities = prediction.probabilities
        if probabilities is None:
            return
        if self.wanted.heatmaps:
            for label, share in zip(prediction.classes, probabilities, strict=True):
                path = self.path("heatmaps", f"{name}.{_file_name(label)}", "png")
                write_image(path, heat_picture(share))
        if self.wanted.probabilities:
            path = self.path("probabilities", name, "npz")
            halves, labels = probabilities.astype(np.float16), np.array(prediction.classes)
            write_with(
                path,
                lambda file: np.savez_compressed(file, probabilities=halves, classes=labels),
            )

    def _write_ids(self, kind: str, name: str, mask: np.ndarray) -> None:
        """Write class ids as a PNG: with the classes' colours as its palette, or in 16 bits."""
        ids = Image.fromarray(mask)
        if mask.dtype == np.uint8:
            ids.putpalette(np.array(self.colors, np.uint8).tobytes())
        write_image(self.path(kind, name, "png"), ids)

    def path(self, kind: str, name: str, suffix: str) -> Path:
        """Return the file of one kind of output about an image."""
        return self.folder / kind / f"{name}.{suffix}"


def heat_picture(values: np.ndarray) -> Image.Image:
    """Return values H×W in 0..1 as a picture: dark = 0, yellow = 1 (matplotlib's viridis)."""
    from matplotlib import colormaps

    pixels = colormaps["viridis"](np.clip(values, 0, 1), bytes=True)
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, :3]))


def _file_name(label: str) -> str:
    """Return a class's name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", label)


def write_image(path: Path, image: Image.Image) -> None:
    """Write a JPEG or a PNG, by the file's name, whole or not at all."""
    buffer = io.BytesIO()
    if path.suffix == ".jpg":
        image.save(buffer, "JPEG", quality=90)
    else:
        image.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def overlaid(image: np.ndarray, mask: np.ndarray, colors: tuple[Color, ...]) -> np.ndarray:
    """Return an image H×W×3 uint8 under the classes' colours, which are half opaque."""
    mixed = np.empty_like(image)
    # few rows at a time: the numbers in between need several times the image's memory
    for first in range(0, len(image), BAND):
        rows = slice(first, first + BAND)
        opaque = (1 - ALPHA) * image[rows].astype(np.float32) + ALPHA * colorize(mask[rows], colors)
        mixed[rows] = opaque.round()
    return mixed


def described(name: str, path: Path, prediction: Prediction) -> dict[str, Any]:
    """Return what a program wants to know of a prediction: sizes, areas, mean uncertainty."""
    height, width = prediction.mask.shape
    total = height * width
    whole = {}
    if prediction.image_class is not None:
        whole["image_class"] = asdict(prediction.image_class)
    return {
        "name": name,
        "image": str(path),
        "height": height,
        "width": width,
        "pixels": dict(prediction.pixels),
        "share": {label: count / total for label, count in prediction.pixels.items()},
        "mean_uncertainty": float(prediction.uncertainty.mean()),
        "mean_disagreement": float(prediction.disagreement.mean()),
        **whole,
    }


def scored(sample: Sample, prediction: Prediction) -> dict[str, Any]:
    """Return the scores of one image, 0..1, as far as it has a mask; None = nothing is labelled."""
    if sample.mask is None:
        return {}
    mask, truth = torch.from_numpy(prediction.mask).long(), torch.from_numpy(sample.mask)
    counts = ConfusionMatrix.of(mask, truth, len(prediction.classes))
    return {
        "miou": number_or_none(mean_iou(counts)),
        "pixel_accuracy": number_or_none(pixel_accuracy(counts)),
    }
