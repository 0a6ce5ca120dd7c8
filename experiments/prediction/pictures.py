"""Pictures of masks and numbers, and image files that are written whole or not at all."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.palette import Color, colorize
from encoder_ablations.utils.files import write_bytes

ALPHA = 0.5
"""Opacity of the classes' colours in an overlay."""
BAND = 64
"""Rows of an overlay that are computed together."""


def heat_picture(values: np.ndarray) -> Image.Image:
    """Return values H×W in 0..1 as a picture: dark = 0, yellow = 1 (matplotlib's viridis)."""
    from matplotlib import colormaps

    pixels = colormaps["viridis"](np.clip(values, 0, 1), bytes=True)
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, :3]))


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
