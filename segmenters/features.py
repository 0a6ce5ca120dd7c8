"""A body's maps of images, which may stand in for the images."""

from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """A body's maps of images, given in place of the images: see :meth:`Segmenter.features`.

    Attributes:
        maps: the body's maps, each B×C×h×w, of the normalised and padded images.
        image_size: (H, W) of the images without padding.
    """

    maps: list[Tensor]
    image_size: tuple[int, int]


def size_of(images: Tensor | Features) -> tuple[int, int]:
    """Return (H, W) of images without padding."""
    if isinstance(images, Features):
        return images.image_size
    return images.shape[-2], images.shape[-1]
