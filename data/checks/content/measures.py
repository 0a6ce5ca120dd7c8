"""What is kept of every pair so that its content can be compared with that of the others."""

from dataclasses import dataclass

import numpy as np

from encoder_ablations.data.checks.content.appearance import Thumbnail, thumbnail
from encoder_ablations.data.checks.content.edges import EdgeFit, edge_fit
from encoder_ablations.data.checks.content.keypoints import NONE, Keypoints, keypoints, shrink
from encoder_ablations.data.checks.content.quality import Quality, quality


@dataclass(frozen=True, eq=False, slots=True)
class ImageContent:
    """Keypoints of an image, and of the image with left and right exchanged.

    The latter are none for images that are not looked for in other splits.
    """

    keypoints: Keypoints
    mirrored: Keypoints


@dataclass(frozen=True, eq=False, slots=True)
class PairContent:
    """How a mask and its image go together, and what they are like.

    Attributes:
        edges: None for a mask with too few boundaries.
    """

    edges: EdgeFit | None
    thumbnail: Thumbnail
    quality: Quality


def image_content(pixels: np.ndarray, *, mirror: bool) -> ImageContent:
    """Measure an image, H×W×3 RGB uint8; ``mirror`` also with left and right exchanged."""
    gray = shrink(pixels)
    mirrored = NONE
    if mirror:
        mirrored = keypoints(np.ascontiguousarray(gray[:, ::-1]))
    return ImageContent(keypoints(gray), mirrored)


def pair_content(pixels: np.ndarray, classes: np.ndarray, ignore: int) -> PairContent:
    """Measure an image, H×W×3 RGB uint8, and its mask of class ids, H×W."""
    return PairContent(
        edge_fit(pixels, classes, ignore),
        thumbnail(pixels, classes),
        quality(pixels, classes, ignore),
    )
