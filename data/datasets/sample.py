"""What every dataset yields."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

Task = Literal["segmentation", "classification"]
"""What a dataset's labels are of: every pixel, or every image as a whole."""
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


class Labels(Protocol):
    """What training must know of a dataset besides its images."""

    @property
    def task(self) -> Task:
        """What its labels are of."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of their ids."""

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...] | None:
        """RGB 0..255 of each class in pictures; None = chosen automatically."""


@dataclass(frozen=True)
class ClassLabels:
    """The classes of images that lie in no folder, see :class:`Labels`."""

    classes: tuple[str, ...]
    task: Task = "segmentation"
    colors: tuple[tuple[int, int, int], ...] | None = None


@dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        image: H×W×3 uint8, RGB.
        mask: H×W class ids, ``ignore`` = ignored, uint8 or uint16 (:func:`mask_type`); None where
            there is no ground truth. In a classification dataset 1×1: the class of the whole image.
        id: unique within its dataset; the file's stem for folder datasets.
        size: (H, W) of the original file, before any transform.
        scene: images of one scene belong together (tiles of a raster, frames of a video).
        ignore: the id of ignored pixels in ``mask``, see :func:`ignore_label`.
        image_class: the class id of the whole image, in a dataset that has such classes and masks.
    """

    image: np.ndarray
    mask: np.ndarray | None
    id: str
    size: tuple[int, int]
    scene: str
    ignore: int = IGNORE
    image_class: int | None = None

    @property
    def truth(self) -> np.ndarray:
        """The mask as int64, to compute with: numbers of 8 bits would wrap around.

        Raises:
            ValueError: there is no mask.
        """
        if self.mask is None:
            raise ValueError(f"sample '{self.id}' has no mask to compare with")
        return self.mask.astype(np.int64)

    @property
    def is_labelled_as_a_whole(self) -> bool:
        """Whether the mask is the one class of the whole image."""
        return self.mask is not None and self.mask.shape == (1, 1) != self.image.shape[:2]
