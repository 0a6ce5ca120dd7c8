"""What every dataset yields."""

from dataclasses import dataclass

import numpy as np

IGNORE = 255
"""Class id of pixels that count neither in a loss nor in a metric; 65535 in datasets of more than 255 classes."""


@dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        image: H×W×3 uint8, RGB.
        mask: H×W int64 class ids, 255 = ignore; None where there is no ground truth.
        id: unique within its dataset; the file's stem for folder datasets.
        size: (H, W) of the original file, before any transform.
        scene: images of one scene belong together (tiles of a raster, frames of a video).
    """

    image: np.ndarray
    mask: np.ndarray | None
    id: str
    size: tuple[int, int]
    scene: str
