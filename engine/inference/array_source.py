"""An image in memory, as a source of windows."""

import numpy as np

from encoder_ablations.engine.inference.windows import as_rgb
from encoder_ablations.utils.errors import InputError


class Array:
    """An image in memory that is read piece by piece."""

    def __init__(self, image: np.ndarray) -> None:
        """Take an image H×W×3 (RGB) or H×W (grey) uint8.

        Raises:
            InputError: it has another shape or type.
        """
        shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        if not shaped or image.dtype != np.uint8 or not image.size:
            raise InputError(
                f"an image is an array H×W×3 (RGB) or H×W (grey) of uint8, not one of shape "
                f"{image.shape} and type {image.dtype}."
            )
        self._pixels = as_rgb(image)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self._pixels.shape[:2]
        return height, width

    def block(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of the image as h×w×3."""
        return self._pixels[rows, columns]
