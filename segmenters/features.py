"""What heads and segmenters are given beside images and pyramids."""

from typing import Any, NamedTuple

from torch import Tensor

from encoder_ablations.encoders.blocks import Blocks


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


class OtherMasks(NamedTuple):
    """The second masks of images that are each a blend of two (MixUp).

    Attributes:
        masks: B×H×W int64, of the images that were blended in.
        totals: what their losses are divided by, see :meth:`Head.totals`.
        share: which part of the loss is theirs, 0..1.
    """

    masks: Tensor
    totals: dict[str, Tensor]
    share: float


class BodyInput(NamedTuple):
    """What a head that reads the body gets in place of a pyramid.

    Attributes:
        blocks: of the body.
        images: B×3×H×W, normalised and padded.
    """

    blocks: Blocks
    images: Tensor


class Example(NamedTuple):
    """A training image as :meth:`Head.fit` reads it.

    Attributes:
        pyramid: what the head reads of the image, see :meth:`Head.loss`; B is 1.
        mask: H×W int64, as large as the padded image; ``ignore`` where pixels do not count.
    """

    pyramid: Any
    mask: Tensor
