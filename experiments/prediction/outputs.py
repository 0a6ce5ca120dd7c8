"""What is written about one predicted image."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.palette import Color, colorize
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.utils.files import write_bytes, write_json

ALPHA = 0.5
"""Opacity of the classes' colours in an overlay."""


class Outputs:
    """The files of one folder of predictions.

    The description of an image is written last: an image that has one is complete.

    Args:
        folder: where they lie.
        colors: of the classes.
    """

    def __init__(self, folder: Path, colors: Sequence[Color]) -> None:
        self.folder = folder
        self.colors = tuple(colors)

    def description(self, name: str) -> Path:
        """Return the file that describes an image."""
        return self.folder / "json" / f"{name}.json"

    def is_complete(self, name: str) -> bool:
        """Return whether everything about an image has been written."""
        return self.description(name).exists()

    def write(self, name: str, path: Path, image: np.ndarray, prediction: Prediction) -> None:
        """Write mask, overlay and description of an image.

        Args:
            name: of the files.
            path: of the image.
            image: H×W×3 uint8, RGB.
            prediction: of the image.
        """
        self._write_mask(name, prediction.mask)
        overlay = Image.fromarray(overlaid(image, prediction.mask, self.colors))
        self._write_image("overlays", f"{name}.jpg", overlay, quality=90)
        write_json(self.description(name), described(name, path, prediction))

    def _write_mask(self, name: str, mask: np.ndarray) -> None:
        """Write class ids as a PNG: with the classes' colours as its palette, or in 16 bits."""
        ids = Image.fromarray(mask)
        if mask.dtype == np.uint8:
            ids.putpalette(np.array(self.colors, np.uint8).tobytes())
        self._write_image("masks", f"{name}.png", ids)

    def _write_image(self, kind: str, name: str, image: Image.Image, **options: Any) -> None:
        buffer = io.BytesIO()
        image.save(buffer, {".jpg": "JPEG"}.get(Path(name).suffix, "PNG"), **options)
        write_bytes(self.folder / kind / name, buffer.getvalue())


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
