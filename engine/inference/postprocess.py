"""Clean-up of a predicted mask: small areas, holes, ragged edges, all but the largest area.

Pixels that lose their class get that of the nearest pixel which keeps its own.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from encoder_ablations.engine.inference.spec import ALL, PostprocessSpec
from encoder_ablations.utils.errors import unknown

CONNECTIVITY = 8
"""Pixels that touch at a corner belong to one area of a class."""
OUTSIDE = 4
"""Around an area they do not: a hole is closed where the area's own pixels touch at a corner."""


class Postprocessing:
    """The clean-up of masks over one set of classes.

    Args:
        spec: what is done.
        classes: names of the K classes.

    Raises:
        InputError: a class that does not exist.
    """

    def __init__(self, spec: PostprocessSpec, classes: Sequence[str]) -> None:
        largest = dict.fromkeys(spec.largest_only, 1)
        self._steps = [
            *_for_classes(opened, spec.opening, classes),
            *_for_classes(closed, spec.closing, classes),
            *_for_classes(without_small, spec.smallest_area, classes),
            *_for_classes(without_holes, spec.largest_hole, classes),
            *_for_classes(largest_only, largest, classes),
        ]

    def of(self, mask: np.ndarray) -> np.ndarray:
        """Return the cleaned mask of a mask of class ids H×W, as a new array of its type."""
        cleaned = mask.copy()
        for step in self._steps:
            cleaned = step(cleaned)
        return cleaned


class Step(Protocol):
    """One way of cleaning up a class."""

    def __call__(self, mask: np.ndarray, label: int, number: int) -> np.ndarray:
        """Return the cleaned mask H×W."""


def _for_classes(
    step: Step, numbers: Mapping[str, int], classes: Sequence[str]
) -> list[Callable[[np.ndarray], np.ndarray]]:
    """Return the step for each class that has a number of its own, or for all.

    Raises:
        InputError: a class that does not exist.
    """
    for name in numbers:
        if name not in (ALL, *classes):
            raise unknown("class of a clean-up", name, (ALL, *classes))
    found: list[Callable[[np.ndarray], np.ndarray]] = []
    for place, name in enumerate(classes):
        number = numbers.get(name, numbers.get(ALL, 0))
        if number > 0:
            found.append(partial(step, label=place, number=number))
    return found


def without_small(mask: np.ndarray, label: int, number: int) -> np.ndarray:
    """Return a mask without the areas of class ``label`` below ``number`` pixels."""
    areas, sizes = _areas(mask == label, CONNECTIVITY)
    small = sizes < number
    small[0] = False  # what is not of the class
    return filled(mask, small[areas])


def without_holes(mask: np.ndarray, label: int, number: int) -> np.ndarray:
    """Return a mask in which holes of at most ``number`` pixels in areas of ``label`` are closed.

    A hole is enclosed by the class on all sides; it may hold several other classes.
    """
    areas, sizes = _areas(mask != label, OUTSIDE)
    holes = sizes <= number
    holes[0] = False
    # what touches the image's border is not enclosed
    border = np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]])
    holes[border] = False
    closed_mask = mask.copy()
    closed_mask[holes[areas]] = label
    return closed_mask


def largest_only(mask: np.ndarray, label: int, number: int) -> np.ndarray:
    """Return a mask with only the ``number`` largest areas of class ``label``."""
    areas, sizes = _areas(mask == label, CONNECTIVITY)
    order = 1 + np.argsort(-sizes[1:], kind="stable")
    dropped = np.zeros(len(sizes), bool)
    dropped[order[number:]] = True
    return filled(mask, dropped[areas])


def opened(mask: np.ndarray, label: int, number: int) -> np.ndarray:
    """Return a mask without parts of ``label`` that a disc of radius ``number`` exceeds."""
    own = (mask == label).astype(np.uint8)
    # beyond the border the class goes on, so that it does not shrink there
    kept = cv2.morphologyEx(own, cv2.MORPH_OPEN, _disc(number), borderType=cv2.BORDER_REPLICATE)
    return filled(mask, (own == 1) & (kept == 0))


def closed(mask: np.ndarray, label: int, number: int) -> np.ndarray:
    """Return a mask in which ``label`` fills gaps that a disc of radius ``number`` exceeds."""
    own = (mask == label).astype(np.uint8)
    grown = cv2.morphologyEx(own, cv2.MORPH_CLOSE, _disc(number), borderType=cv2.BORDER_REPLICATE)
    closed_mask = mask.copy()
    closed_mask[grown == 1] = label
    return closed_mask


def filled(mask: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Return a mask whose removed pixels have the class of the nearest other pixel.

    Args:
        mask: H×W class ids.
        removed: H×W bool. If it holds everything, the mask stays as it is.
    """
    if not removed.any() or removed.all():
        return mask
    rows, columns = distance_transform_edt(removed, return_distances=False, return_indices=True)
    nearest: np.ndarray = mask[rows, columns]
    return nearest


def _areas(own: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each pixel's area, H×W, 0 = not ``own``, and each area's pixels."""
    _, areas = cv2.connectedComponents(own.astype(np.uint8), connectivity=connectivity)
    return areas, np.bincount(areas.reshape(-1))


def _disc(radius: int) -> np.ndarray:
    """Return the pixels of a disc around a pixel, (2r+1)×(2r+1) of 0 and 1."""
    side = np.arange(-radius, radius + 1)
    inside = side[:, None] ** 2 + side[None, :] ** 2 <= radius**2
    return inside.astype(np.uint8)
