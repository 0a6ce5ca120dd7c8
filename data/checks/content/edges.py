"""Measure how well the boundaries of a mask lie on the edges of its image.

A mask that belongs to its image has its boundaries where the image has edges. A mask that was
moved, mirrored or exchanged with another one fits no better where it lies than elsewhere.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 160
"""The longer side of the images and masks that are compared, in pixels."""
REACH = 15
"""A mask is moved by up to so many of these pixels."""
NEAR = 1.5
"""A mask lies in its place if it is moved by no more than this."""
FAR = 4
"""It lies elsewhere from this on; nearer, an edge is still felt from its own place."""
FEWEST = 30
"""Boundary pixels below which nothing can be said."""


@dataclass(frozen=True, slots=True)
class EdgeFit:
    """Edge strength below a mask's boundaries, in standard deviations of one random pixel's sum.

    Attributes:
        here: where the mask lies.
        elsewhere: at the best other place.
        move: (right, down) from the mask's place to the best other one, in pixels of the image.
        mirrored: with the mask's left and right exchanged.
        upside_down: with its top and bottom exchanged.
    """

    here: float
    elsewhere: float
    move: tuple[int, int]
    mirrored: float
    upside_down: float

    @property
    def gain(self) -> float:
        """How much better the mask fits elsewhere; negative where it belongs to its image."""
        return max(self.elsewhere, self.mirrored, self.upside_down) - self.here


def edge_fit(pixels: np.ndarray, classes: np.ndarray, ignore: int) -> EdgeFit | None:
    """Compare the boundaries of a mask with the edges of its image.

    Args:
        pixels: H×W×3 uint8, RGB.
        classes: H×W class ids.
        ignore: the id of pixels without a class; they bound nothing.

    Returns:
        None for a mask with too few boundaries.
    """
    scale = min(1.0, SIDE / max(classes.shape))
    height, width = (max(1, round(side * scale)) for side in classes.shape)
    bounds = _boundaries(nearest(classes, height, width), ignore)
    if bounds.sum() < FEWEST:
        return None
    edges = _edges(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    edges = np.pad(edges, REACH)
    fits = _fit_everywhere(edges, bounds)
    down, right = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    distance = np.hypot(down, right)
    far = np.where((distance >= FAR) & (distance <= REACH), fits, -np.inf)
    best = np.unravel_index(far.argmax(), far.shape)
    near = distance <= NEAR
    return EdgeFit(
        here=float(fits[near].max()),
        elsewhere=float(far[best]),
        move=(round(right[best] / scale), round(down[best] / scale)),
        mirrored=float(_fit_everywhere(edges, bounds[:, ::-1])[near].max()),
        upside_down=float(_fit_everywhere(edges, bounds[::-1])[near].max()),
    )


def nearest(classes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a mask in another size, height×width, each pixel with the class at its centre."""
    rows = (np.arange(height) + 0.5) * classes.shape[0] / height
    columns = (np.arange(width) + 0.5) * classes.shape[1] / width
    shrunk: np.ndarray = classes[np.ix_(rows.astype(int), columns.astype(int))]
    return shrunk


def _edges(pixels: np.ndarray) -> np.ndarray:
    """Return the edge strength of an image, H×W float32, of mean 0 nearby and deviation 1."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32)
    across, along = (cv2.Sobel(lab, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    # the logarithm keeps one strong edge from outweighing a hundred weak ones
    strength = np.log1p(np.sqrt((across**2 + along**2).sum(axis=2)))
    strength -= cv2.GaussianBlur(strength, (0, 0), SIDE / 20)
    return np.asarray(strength / max(float(strength.std()), 1e-6))


def _boundaries(classes: np.ndarray, ignore: int) -> np.ndarray:
    """Return 1 on both sides of each change between two classes, else 0, as H×W float32."""
    found = np.zeros(classes.shape, np.float32)
    for one, other, out_one, out_other in (
        (classes[:, 1:], classes[:, :-1], found[:, 1:], found[:, :-1]),
        (classes[1:], classes[:-1], found[1:], found[:-1]),
    ):
        changes = (one != other) & (one != ignore) & (other != ignore)
        out_one[changes] = 1
        out_other[changes] = 1
    return found


def _fit_everywhere(edges: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return the fit for every move of the mask by up to REACH, indexed [down, right].

    Args:
        edges: H×W float32, with REACH more pixels on each side.
        bounds: H×W float32, 1 on boundaries of the mask.
    """
    unit = bounds / np.sqrt(bounds.sum())
    return np.asarray(cv2.matchTemplate(edges, unit, cv2.TM_CCORR))
