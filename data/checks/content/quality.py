"""Numbers by which damaged images and masks stand out: blur, noise, flat parts, specks, blocks."""

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

TILE = 16
"""Side of the tiles that are looked at for flat parts."""
FLAT = 1.0
"""A tile is flat if its grey levels, 0..255, deviate by less."""
SPECK = 3
"""A pixel belongs to a speck if no more of those around it, itself among them, are of its class."""
BLOCKS = (4, 8, 16)
"""Sides of the blocks that enlarged or compressed masks are made of."""
NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""J. Immerkær, "Fast Noise Variance Estimation", CVIU 1996."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What a pair is like; each number is compared with those of the other pairs.

    Attributes:
        sharpness: logarithm of the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000).
        noise: logarithm of Immerkær's estimate of the noise's deviation, in grey levels.
        flat: share of the image's tiles that are of one colour.
        specks: logarithm of the number of pixels in specks.
        blocks: the largest share of a mask's boundaries that lie on a grid, beyond chance.
        gap: share of the rows or columns, from one edge on, that are not labelled at all.
    """

    sharpness: float
    noise: float
    flat: float
    specks: float
    blocks: float
    gap: float


def quality(pixels: np.ndarray, classes: np.ndarray, ignore: int) -> Quality:
    """Measure a pair: H×W×3 uint8 RGB, H×W class ids, and the id of pixels without a class."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return Quality(
        sharpness=float(np.log1p(cv2.Laplacian(gray, cv2.CV_32F).var())),
        noise=_noise(gray),
        flat=_flat_share(gray),
        specks=float(np.log1p(_count_specks(classes))),
        blocks=max(_on_grid(classes, side) for side in BLOCKS),
        gap=_gap(classes == ignore),
    )


def _noise(gray: np.ndarray) -> float:
    response = np.abs(cv2.filter2D(gray, -1, NOISE_KERNEL))[1:-1:2, 1:-1:2]
    # the median, not Immerkær's mean: edges are few, noise is everywhere
    return float(np.log1p(np.median(response) / 0.6745 / 6)) if response.size else 0.0


def _flat_share(gray: np.ndarray) -> float:
    rows, columns = gray.shape[0] // TILE, gray.shape[1] // TILE
    tiles = gray[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE)
    return float((tiles.std(axis=(1, 3)) < FLAT).mean()) if tiles.size else 0.0


def _count_specks(classes: np.ndarray) -> int:
    """Return how many pixels have at most SPECK pixels of their class in the 5×5 around them."""
    height, width = classes.shape
    around = np.pad(classes, 2, mode="edge")
    alike = np.zeros(classes.shape, np.uint8)
    for down, right in product(range(5), range(5)):
        alike += around[down : down + height, right : right + width] == classes
    return int((alike <= SPECK).sum())


def _on_grid(classes: np.ndarray, side: int) -> float:
    """Return the share of changes at the most frequent phase of a grid, minus that by chance."""
    shares = []
    for changes in (classes[:, 1:] != classes[:, :-1], (classes[1:] != classes[:-1]).T):
        places = np.flatnonzero(changes.any(axis=0))
        counts = np.bincount(places % side, weights=changes.sum(axis=0)[places], minlength=side)
        if counts.sum() < TILE:
            return 0.0
        shares.append(counts.max() / counts.sum())
    return float(min(shares)) - 1 / side


def _gap(unlabelled: np.ndarray) -> float:
    """Return the largest part, from one of the four edges on, without any class."""
    parts = []
    for lines in map(np.asarray, (unlabelled.all(axis=1), unlabelled.all(axis=0))):
        for ordered in (lines, lines[::-1]):
            labelled = np.append(np.flatnonzero(~ordered), len(ordered))
            parts.append(labelled[0] / len(ordered))
    return float(max(parts))
