"""The contract of a segmenter: raw images in, losses or class scores out."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.encoders.base import Encoder
from encoder_ablations.segmenters.scores import ScoreMaps


class Features(NamedTuple):
    """A frozen body's maps of images, given in place of the images: see :meth:`Segmenter.features`.

    Attributes:
        maps: the body's maps, each B×C×h×w, of the normalised and padded images.
        image_size: (H, W) of the images without padding.
    """

    maps: list[Tensor]
    image_size: tuple[int, int]


class Head(nn.Module):
    """A pyramid to predictions. Masks hold class ids, and ``ignore`` where pixels do not count."""

    ignore: int = IGNORE
    """See :func:`encoder_ablations.data.datasets.sample.ignore_label`."""
    levels: tuple[str, ...] | None = None
    """Names of the levels that are read; None = all. What only the others depend on does not learn.
    """
    least_images: int = 1
    """Images that training needs at a time: 2 where BatchNorm follows a mean over the image."""
    traced_for_one_size: bool = False
    """Whether its code computes with the levels' sizes as plain numbers, so that what
    ``torch.export`` makes of it takes images of one size.
    """

    @classmethod
    def build(cls, spec: Any, encoder: Encoder, num_classes: int) -> Self:
        """Return a new head for an encoder, its weights drawn from PyTorch's global generator.

        Args:
            spec: the settings, an object of the class that the head was registered with.
            encoder: gives the levels that the head reads.
            num_classes: number of classes, K.

        Raises:
            InputError: settings that do not fit together, or a package that is not installed.
        """
        raise NotImplementedError

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return what the losses of ``masks`` (B×H×W int64) are divided by.

        They are scalars that add up over micro-batches, and follow from the ground truth alone. So
        accumulation and several processes can divide by the counts of the whole batch and get the
        loss of one large batch.
        """
        raise NotImplementedError

    def loss(
        self, pyramid: dict[str, Tensor], masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return named scalars whose sum is minimised.

        Args:
            pyramid: the encoder's levels, each B×C×h×w.
            masks: B×H×W int64, as large as the padded images.
            totals: divisors, see :meth:`totals`.
        """
        raise NotImplementedError

    def attention_paths(self) -> set[str]:
        """Return what has computed this head's deformable attention so far, e.g. {"numba"}.

        The set is empty for a head without deformable attention.
        """
        return set()

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Return the class scores of the B images; ``image_size`` is (H, W) without padding."""
        raise NotImplementedError


class Segmenter(nn.Module):
    """An encoder and a head.

    It takes raw RGB 0..255; normalising with the encoder's numbers and padding happen inside, once.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        mean, std = encoder.normalization.mean, encoder.normalization.std
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return :meth:`Head.totals` of masks B×H×W int64."""
        return self.head.totals(self._pad(masks, self.head.ignore))

    def loss(
        self, images: Tensor | Features, masks: Tensor, totals: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the training losses: named scalars, whose sum is the loss.

        Args:
            images: B×3×H×W uint8 or float, RGB 0..255, or the features of such images.
            masks: B×H×W int64 class ids, ``head.ignore`` = ignore.
            totals: what to divide by, when these images are only a part of the batch; by default
                their own totals.
        """
        masks = self._pad(masks, self.head.ignore)
        if totals is None:
            totals = self.head.totals(masks)
        return self.head.loss(self.pyramid(images), masks, totals)

    def predict(self, images: Tensor | Features) -> ScoreMaps:
        """Return the class scores, ready to be brought to any size.

        Args:
            images: B×3×H×W, RGB 0..255, or the features of such images.
        """
        return self.head.predict(self.pyramid(images), _size(images))

    def scores(self, images: Tensor) -> Tensor:
        """Return the class scores B×K×H×W of images B×3×H×W, RGB 0..255.

        The class with the largest score is the prediction.
        """
        height, width = images.shape[-2:]
        return self.predict(images).at((height, width))

    def pyramid(self, images: Tensor | Features) -> dict[str, Tensor]:
        """Return the encoder's levels of images, or of their features.

        Images are normalised, then padded with zeros (the mean colour) on the right and below.
        """
        if isinstance(images, Features):
            step = self.encoder.divisibility
            # the sides of the padded images
            height, width = (-(-side // step) * step for side in images.image_size)
            return self.encoder.pyramid(images.maps, (height, width))
        levels: dict[str, Tensor] = self.encoder(self._normalized(images))
        return levels

    def features(self, images: Tensor) -> Features:
        """Return the body's maps of images B×3×H×W, RGB 0..255.

        A frozen body makes the same ones every time, so they can be stored.
        """
        return Features(self.encoder.maps(self._normalized(images)), _size(images))

    def _normalized(self, images: Tensor) -> Tensor:
        return self._pad((images.to(self.mean.dtype) - self.mean) / self.std, 0.0)

    def _pad(self, tensor: Tensor, value: float) -> Tensor:
        """Pad to multiples of the coarsest stride, on the right and below, as Mask2Former does."""
        step = self.encoder.divisibility
        # sides rounded up, in operations that torch.export can also trace for an unknown size
        below, right = ((side + step - 1) // step * step - side for side in tensor.shape[-2:])
        return F.pad(tensor, (0, right, 0, below), value=value)


def _size(images: Tensor | Features) -> tuple[int, int]:
    """Return (H, W) of images without padding."""
    if isinstance(images, Features):
        return images.image_size
    return images.shape[-2], images.shape[-1]
