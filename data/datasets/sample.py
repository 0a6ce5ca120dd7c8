"""What every dataset yields."""

from dataclasses import dataclass
from typing import Any

import numpy as np

IGNORE = 255
"""Class id of pixels that count neither in a loss nor in a metric, up to 255 classes."""
WIDE_IGNORE = 65535
"""The same where 255 is a class."""


def ignore_label(num_classes: int) -> int:
    """Return the id of ignored pixels: 255, or 65535 for more than 255 classes."""
    if num_classes > IGNORE:
        return WIDE_IGNORE
    return IGNORE


def mask_type(ignore: int) -> np.dtype[Any]:
    """Return the type that masks are kept as: uint8, or uint16 where 65535 is ignored."""
    return np.min_scalar_type(ignore)


@dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        image: H×W×3 uint8, RGB.
        mask: H×W int64 class ids, ``ignore`` = ignored; None where there is no ground truth.
        id: unique within its dataset; the file's stem for folder datasets.
        size: (H, W) of the original file, before any transform.
        scene: images of one scene belong together (tiles of a raster, frames of a video).
        ignore: the id of ignored pixels in ``mask``, see :func:`ignore_label`.
    """

    image: np.ndarray
    mask: np.ndarray | None
    id: str
    size: tuple[int, int]
    scene: str
    ignore: int = IGNORE
