"""Connected areas of wrong pixels."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class WrongRegion:
    """Wrong pixels that touch each other, also at corners.

    Attributes:
        image: id of the image.
        pixels: how many they are.
        box: top, left, height, width, in pixels.
        truth: the class that most of them are.
        predicted: what most of these were taken for.
    """

    image: str
    pixels: int
    box: tuple[int, int, int, int]
    truth: int
    predicted: int


def wrong_regions(
    image: str, truth: np.ndarray, predicted: np.ndarray, ignore: int, most: int
) -> list[WrongRegion]:
    """Return an image's largest wrong regions, the largest first.

    Args:
        image: its id.
        truth: H×W class ids.
        predicted: H×W class ids.
        ignore: id of ignored pixels in ``truth``, which belong to no region.
        most: how many regions are returned.
    """
    wrong = (truth != predicted) & (truth != ignore)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=8)
    # number 0 is everything that is not wrong
    sizes = stats[1:, cv2.CC_STAT_AREA]
    largest = 1 + np.argsort(-sizes, kind="stable")[:most]
    found = []
    for number in largest.tolist():
        left, top, width, height, pixels = stats[number].tolist()
        window = np.s_[top : top + height, left : left + width]
        inside = labels[window] == number
        of_truth = truth[window][inside]
        usual = _most_common(of_truth)
        taken_for = _most_common(predicted[window][inside][of_truth == usual])
        found.append(WrongRegion(image, pixels, (top, left, height, width), usual, taken_for))
    return found


def _most_common(ids: np.ndarray) -> int:
    return int(np.bincount(ids.astype(np.int64)).argmax())
