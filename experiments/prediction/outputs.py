"""What is written about one predicted image."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.palette import Color, colorize
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.utils.files import write_bytes, write_with

ALPHA = 0.5
"""Opacity of the classes' colours in an overlay."""


class Wanted(NamedTuple):
    """What is written of an image beside mask and overlay.

    Attributes:
        uncertainty: a picture of the uncertainty, bright = uncertain.
        heatmaps: a picture of each class's probability.
        probabilities: all probabilities as a compressed NumPy file of float16.
    """

    uncertainty: bool = False
    heatmaps: bool = False
    probabilities: bool = False


MASK_AND_OVERLAY = Wanted()


class Outputs:
    """The files of one folder of predictions.

    The description of an image is written last: an image that has one is complete.

    Args:
        folder: where they lie.
        colors: of the classes.
        wanted: what is written beside mask and overlay.
    """

    def __init__(
        self, folder: Path, colors: Sequence[Color], wanted: Wanted = MASK_AND_OVERLAY
    ) -> None:
        self.folder = folder
        self.colors = tuple(colors)
        self.wanted = wanted

    @property
    def needs_probabilities(self) -> bool:
        """Whether the probabilities of all classes are needed, which take much memory."""
        return self.wanted.heatmaps or self.wanted.probabilities

    def description(self, name: str) -> Path:
        """Return the file that describes an image."""
        return self.folder / "json" / f"{name}.json"

    def is_complete(self, name: str) -> bool:
        """Return whether everything about an image has been written."""
        return self.description(name).exists()

    def write(self, name: str, image: np.ndarray, prediction: Prediction) -> None:
        """Write the mask, the overlay and what else is wanted of an image.

        Args:
            name: of the files.
            image: H×W×3 uint8, RGB.
            prediction: of the image, with probabilities where they are needed.
        """
        ids = Image.fromarray(prediction.mask)
        if prediction.mask.dtype == np.uint8:
            ids.putpalette(np.array(self.colors, np.uint8).tobytes())
        write_image(self._path("masks", name, "png"), ids)
        overlay = Image.fromarray(overlaid(image, prediction.mask, self.colors))
        write_image(self._path("overlays", name, "jpg"), overlay)
        if self.wanted.uncertainty:
            picture = heat_picture(prediction.uncertainty)
            write_image(self._path("uncertainty", name, "png"), picture)
        probabilities = prediction.probabilities
        if probabilities is None:
            return
        if self.wanted.heatmaps:
            for label, share in zip(prediction.classes, probabilities, strict=True):
                path = self._path("heatmaps", f"{name}.{_file_name(label)}", "png")
                write_image(path, heat_picture(share))
        if self.wanted.probabilities:
            content = {"probabilities": probabilities.astype(np.float16)}
            content["classes"] = np.array(prediction.classes)
            path = self._path("probabilities", name, "npz")
            write_with(path, lambda file: np.savez_compressed(file, **content))

    def _path(self, kind: str, name: str, suffix: str) -> Path:
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
    mixed = (1 - ALPHA) * image.astype(np.float32) + ALPHA * colorize(mask, colors)
    return mixed.round().astype(np.uint8)


def described(name: str, path: Path, prediction: Prediction) -> dict[str, Any]:
    """Return what a program wants to know of a prediction: sizes, areas, mean uncertainty."""
    height, width = prediction.mask.shape
    total = height * width
    return {
        "name": name,
        "image": str(path),
        "height": height,
        "width": width,
        "pixels": dict(prediction.pixels),
        "share": {label: count / total for label, count in prediction.pixels.items()},
        "mean_uncertainty": float(prediction.uncertainty.mean()),
        "mean_disagreement": float(prediction.disagreement.mean()),
    }
