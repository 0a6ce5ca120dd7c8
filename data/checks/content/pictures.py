"""Small pictures of pairs: the image, and the image under its mask."""

import base64

import cv2
import numpy as np

from encoder_ablations.data.datasets.palette import Color, colorize

HEIGHT = 150
"""Pixels of a picture."""
OPACITY = 0.5
"""Of the mask's colours."""


def side_by_side(pixels: np.ndarray, classes: np.ndarray, colors: tuple[Color, ...]) -> str:
    """Return image and overlay as a ``data:`` address of a JPEG.

    Args:
        pixels: H×W×3 uint8, RGB.
        classes: H×W class ids; pixels without a class stay as they are.
        colors: of the classes.
    """
    scale = HEIGHT / pixels.shape[0]
    size = (max(1, round(pixels.shape[1] * scale)), HEIGHT)
    drawn = colorize(classes, colors)
    mixed = cv2.addWeighted(pixels, 1 - OPACITY, drawn, OPACITY, 0)
    labelled = (classes < len(colors))[..., None]
    overlay = np.where(labelled, mixed, pixels)
    small = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (pixels, overlay)]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(np.hstack(small), cv2.COLOR_RGB2BGR))
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
