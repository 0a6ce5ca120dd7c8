"""Pictures that show which places of an image speak for a class (Seg-Grad-CAM)."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from encoder_ablations.encoders.base import Level
from encoder_ablations.engine.inference.grad_cam import chosen_level, seg_grad_cam
from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.utils.errors import InputError, unknown

OPACITY = 0.8
"""Of the colours where the heat is largest; they are transparent where it is 0."""
FRAME_COLOR = (255, 255, 255)


class Box(NamedTuple):
    """Pixels of an image: columns x0 to x1 - 1 and rows y0 to y1 - 1, counted from 0."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class GradCam:
    """The heat map that is made of every image.

    Attributes:
        class_id: the class that is explained, 0..K-1.
        level: of the encoder.
        box: the pixels whose scores are explained; None = those where the class is predicted.
    """

    class_id: int
    level: Level
    box: Box | None = None

    def picture(
        self, image: np.ndarray, prediction: Prediction, predictor: Predictor
    ) -> Image.Image | None:
        """Return the heat map over the image; None where there is no pixel to explain.

        Args:
            image: H×W×3 uint8, RGB.
            prediction: of the image.
            predictor: of one model.

        Raises:
            InputError: the box lies outside of the image.
        """
        region = prediction.mask == self.class_id
        if self.box is not None:
            region = _inside(self.box, region.shape[0], region.shape[1])
        if not region.any():
            return None
        heat = seg_grad_cam(predictor, image, self.class_id, region, self.level)
        picture = _heated(image, heat)
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            outline = (x0 - 1, y0 - 1, x1, y1)
            ImageDraw.Draw(picture).rectangle(outline, outline=FRAME_COLOR)
        return picture


def _inside(box: Box, height: int, width: int) -> np.ndarray:
    """Return the pixels of a box in an image of H×W, as H×W bool.

    Raises:
        InputError: there is none.
    """
    region = np.zeros((height, width), bool)
    region[box.y0 : box.y1, box.x0 : box.x1] = True
    if not region.any():
        raise InputError(
            f"--region {','.join(map(str, box))} lies outside of an image of {width}×{height} "
            "pixels (width × height)."
        )
    return region


def _heated(image: np.ndarray, heat: np.ndarray) -> Image.Image:
    """Return an image H×W×3 under colours that are the more opaque the larger the heat is."""
    from matplotlib import colormaps

    colors = colormaps["inferno"](heat)[:, :, :3] * 255
    opacity = OPACITY * heat[:, :, None]
    mixed = (1 - opacity) * image + opacity * colors
    return Image.fromarray(mixed.round().astype(np.uint8))


def read_grad_cam(
    arguments: argparse.Namespace, classes: Sequence[str], predictor: Predictor
) -> GradCam | None:
    """Return the heat map that ``--grad-cam``, ``--region`` and ``--level`` ask for; None = none.

    Raises:
        InputError: an unknown class or level, a wrong region, options without ``--grad-cam``, or
            several models, views or windows.
    """
    if arguments.grad_cam is None:
        if arguments.region is not None or arguments.level is not None:
            raise InputError("--region and --level need --grad-cam CLASS.")
        return None
    if arguments.grad_cam not in classes:
        raise unknown("class", arguments.grad_cam, classes)
    box = None
    if arguments.region is not None:
        box = _read_box(arguments.region)
    level = chosen_level(predictor, arguments.level)
    return GradCam(list(classes).index(arguments.grad_cam), level, box)


def _read_box(text: str) -> Box:
    """Return the box that ``x0,y0,x1,y1`` or the pixel ``x,y`` stands for.

    Raises:
        InputError: it is neither.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 2:
        x, y = numbers
        numbers = [x, y, x + 1, y + 1]
    if len(numbers) == 4:
        box = Box(*numbers)
        if 0 <= box.x0 < box.x1 and 0 <= box.y0 < box.y1:
            return box
    raise InputError(
        f"--region {text}: write a box as x0,y0,x1,y1 with x0 < x1 and y0 < y1, or one pixel as "
        "x,y; all in pixels from the top left corner, 0 and more."
    )
