"""Small pictures in pages: images, classes in their colours, and where predictions are wrong."""

import io

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.utils.pages.data_uri import data_uri

SIDE = 320
"""Longest side of a picture in a page, in pixels."""
WRONG = (213, 60, 0)


def error_map(
    image: np.ndarray, truth: np.ndarray, labels: np.ndarray, ignore: int = IGNORE
) -> np.ndarray:
    """Return a picture that shows where a prediction is wrong.

    Args:
        image: H×W×3 uint8, RGB.
        truth: H×W class ids.
        labels: H×W class ids, the prediction.
        ignore: id of ignored pixels in ``truth``.

    Returns:
        H×W×3 uint8, RGB: the image in pale grey where the prediction is right, in orange-red where
        it is wrong, black where the truth is ignored.
    """
    # a pale grey image, on which the errors stand out
    grey = image.mean(axis=2, keepdims=True)
    shown = np.broadcast_to(150 + 0.41 * grey, image.shape).copy()
    wrong = labels != truth
    shown[wrong] = 0.25 * grey[wrong] + 0.75 * np.array(WRONG)
    shown[truth == ignore] = 0
    return shown.clip(0, 255).astype(np.uint8)


def jpeg(array: np.ndarray) -> str:
    """Return a picture H×W×3 uint8, made smaller, as a data URI of a JPEG."""
    buffer = io.BytesIO()
    picture = Image.fromarray(array)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(buffer, "JPEG", quality=85)
    return data_uri(buffer.getvalue(), "image/jpeg")


def png(array: np.ndarray) -> str:
    """Return classes in their colours, H×W×3 uint8, made smaller, as a data URI of a PNG."""
    buffer = io.BytesIO()
    picture = Image.fromarray(array)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST)
    picture.save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")
