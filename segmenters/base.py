"""The contract of a segmenter: raw images in, losses or class scores out."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.data.datasets.sample import IGNORE, Task
from encoder_ablations.encoders.base import Encoder
from encoder_ablations.segmenters.facts import Reads
from encoder_ablations.segmenters.features import BodyInput, Example, Features, OtherMasks, size_of
from encoder_ablations.segmenters.image_head import TERM, ImageHead
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import HeadSpec


class Head(nn.Module):
    """A pyramid to predictions. Masks hold class ids, and ``ignore`` where pixels do not count."""

    ignore: int = IGNORE
    """See :func:`encoder_ablations.data.datasets.sample.ignore_label`."""
    reads: ClassVar[Reads] = "pyramid"
    """What it reads, as it was registered."""
    learns: ClassVar[bool] = True
    """Whether it learns by gradients, as it was registered."""
    task: Task = "segmentation"
    """What it predicts; for "classification" masks are B×1×1: the class of each image."""
    levels: tuple[str, ...] | None = None
    """Names of the levels that are read; None = all. What only the others depend on does not learn.
    """
    least_images: int = 1
    """Images that training needs at a time: 2 where BatchNorm follows a mean over the image."""
    learns_blends: bool = False
    """Whether there is :meth:`blended_loss`."""
    spec_type: ClassVar[type[HeadSpec]] = HeadSpec
    """What the settings of such heads are derived from."""
    traced_for_one_size: bool = False
    """Whether its code computes with the levels' sizes as plain numbers, so that what
    ``torch.export`` makes of it takes images of one size.
    """

    needs_whole_images: bool = False
    """Whether it knows an image by its content, so that it must see all of it, unchanged."""

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

    def progressed(self, done: float) -> None:
        """Adapt to the progress of training; called before every step.

        What a head does with it must follow from ``done`` alone, so that a run that goes on after
        an interruption ends with the same bits. Predictions do not depend on it.

        Args:
            done: share of the steps that are done, 0..1.
        """

    def loss(self, pyramid: Any, masks: Tensor, totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return named scalars whose sum is minimised.

        Args:
            pyramid: the encoder's levels by name, each B×C×h×w; a :class:`BodyInput` for a head
                that reads the body.
            masks: B×H×W int64, as large as the padded images.
            totals: divisors, see :meth:`totals`.
        """
        raise NotImplementedError

    def blended_loss(
        self,
        pyramid: dict[str, Tensor],
        masks: Tensor,
        totals: dict[str, Tensor],
        other: OtherMasks,
    ) -> dict[str, Tensor]:
        """Return :meth:`loss` of blended images: of both masks, in their shares.

        The predictions are made once. Only for a head that says ``learns_blends``.

        Args:
            pyramid: as in :meth:`loss`.
            masks: as in :meth:`loss`.
            totals: as in :meth:`loss`.
            other: the masks of the images that were blended in.
        """
        raise NotImplementedError

    def fit(self, examples: Iterator[Example]) -> None:
        """Learn from one pass over the training images, without gradients.

        Only for a head that is registered with ``learns=False``. Without this method it needs no
        training image. What it learns must be in its parameters and buffers, whose shapes follow
        from the settings. PyTorch's generator on the CPU is a named stream of the run's seed.

        Args:
            examples: the images in the order of the training set, without augmentation.
        """
        raise NotImplementedError

    def attention_paths(self) -> set[str]:
        """Return what has computed this head's deformable attention so far, e.g. {"numba"}.

        The set is empty for a head without deformable attention.
        """
        return set()

    def predict(self, pyramid: Any, image_size: tuple[int, int]) -> ScoreMaps:
        """Return the class scores of the B images.

        Args:
            pyramid: see :meth:`loss`.
            image_size: (H, W) without padding.
        """
        raise NotImplementedError


class Segmenter(nn.Module):
    """An encoder and a head.

    It takes raw RGB 0..255; normalising with the encoder's numbers and padding happen inside, once.

    Attributes:
        image_head: predicts the class of the whole image from the same maps; None = no such head.
    """

    mean: Tensor
    std: Tensor
    class_names: tuple[str, ...] = ()
    """Names of the K classes; numbers from 0 where only their number is known."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.image_head: ImageHead | None = None
        mean, std = encoder.normalization.mean, encoder.normalization.std
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)

    def totals(self, masks: Tensor) -> dict[str, Tensor]:
        """Return :meth:`Head.totals` of masks B×H×W int64, and how many images they are of."""
        totals = self.head.totals(self._padded_masks(masks))
        if self.image_head is not None:
            totals[TERM] = torch.full((), float(len(masks)), device=masks.device)
        return totals

    def loss(
        self,
        images: Tensor | Features,
        masks: Tensor,
        totals: dict[str, Tensor] | None = None,
        other: OtherMasks | None = None,
        image_classes: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the training losses: named scalars, whose sum is the loss.

        Args:
            images: B×3×H×W uint8 or float, RGB 0..255, or the features of such images.
            masks: B×H×W int64 class ids, ``head.ignore`` = ignore; B×1×1 for classification.
            totals: what to divide by, when these images are only a part of the batch; by default
                their own totals.
            other: second masks, where each image is a blend of two.
            image_classes: B int64 class ids of the whole images, for ``image_head``.
        """
        if totals is None:
            totals = self.totals(masks)
        images, masks = self._with_maps(images), self._padded_masks(masks)
        levels = self._read_levels(images)
        if other is not None:
            other = other._replace(masks=self._padded_masks(other.masks))
            return self.head.blended_loss(levels, masks, totals, other)
        losses = self.head.loss(levels, masks, totals)
        if self.image_head is None:
            return losses
        # a dataset without them is refused with an image head
        assert isinstance(images, Features)
        assert image_classes is not None
        return losses | {TERM: self.image_head.loss(images, image_classes, totals[TERM])}

    def fit(self, images: Iterator[tuple[Tensor | Features, Tensor]]) -> None:
        """Let a head that does not learn by gradients read the training images, once.

        Args:
            images: 1×3×H×W each, RGB 0..255, or their features, with their masks H×W int64.
        """
        with torch.no_grad():
            self.head.fit(
                Example(self.pyramid(image), self._padded_masks(mask)) for image, mask in images
            )

    def predict(self, images: Tensor | Features) -> ScoreMaps:
        """Return the class scores of pixels (and of whole images), to be brought to any size.

        Args:
            images: B×3×H×W, RGB 0..255, or the features of such images.
        """
        images = self._with_maps(images)
        found = self.head.predict(self._read_levels(images), size_of(images))
        if self.image_head is None:
            return found
        return replace(found, image_scores=self.image_head(images).float())

    def scores(self, images: Tensor) -> Tensor:
        """Return the class scores B×K×H×W of images B×3×H×W, RGB 0..255.

        The class with the largest score is the prediction.
        """
        height, width = images.shape[-2:]
        return self.predict(images).at((height, width))

    def forward(self, images: Tensor) -> Tensor:
        """Return :meth:`scores`, as ``model(images)`` does."""
        return self.scores(images)

    @property
    def reads_features(self) -> bool:
        """Whether the head reads a frozen body's maps, which are the same every time.

        A head that runs the body's blocks itself reads images.
        """
        return self.encoder.body_is_frozen and self.head.reads != "body"

    def pyramid(self, images: Tensor | Features) -> Any:
        """Return what the head reads of images, or of their features: see :meth:`Head.loss`.

        Images are normalised, then padded with zeros (the mean colour) on the right and below.
        """
        if self.head.reads == "body":
            assert isinstance(images, Tensor)  # see reads_features
            return BodyInput(self.encoder.body.as_blocks(), self._normalized(images))
        if isinstance(images, Features):
            step = self.encoder.divisibility
            # the sides of the padded images; ONNX would round the quotient of a negative number up
            height, width = ((side + step - 1) // step * step for side in images.image_size)
            return self.encoder.pyramid(images.maps, (height, width))
        return self.encoder(self._normalized(images))

    def features(self, images: Tensor) -> Features:
        """Return the body's maps of images B×3×H×W, RGB 0..255.

        A frozen body makes the same ones every time, so they can be stored.
        """
        return Features(self.encoder.maps(self._normalized(images)), size_of(images))

    def _with_maps(self, images: Tensor | Features) -> Tensor | Features:
        """Return the features of images where both heads read them: the body then runs once."""
        if self.image_head is None or isinstance(images, Features):
            return images
        return self.features(images)

    def _read_levels(self, images: Tensor | Features) -> Any:
        """Return what the head reads: levels without padding, where it takes their mean."""
        pyramid = self.pyramid(images)
        if self.head.task == "segmentation":
            return pyramid
        height, width = size_of(images)
        levels = {}
        for level in self.encoder.levels:
            rows, columns = -(-height // level.stride), -(-width // level.stride)
            levels[level.name] = pyramid[level.name][..., :rows, :columns]
        return levels

    def _padded_masks(self, masks: Tensor) -> Tensor:
        if self.head.task == "classification":
            return masks
        return self._pad(masks, self.head.ignore)

    def _normalized(self, images: Tensor) -> Tensor:
        return self._pad((images.to(self.mean.dtype) - self.mean) / self.std, 0.0)

    def _pad(self, tensor: Tensor, value: float) -> Tensor:
        """Pad to multiples of the coarsest stride, on the right and below, as Mask2Former does."""
        step = self.encoder.divisibility
        # sides rounded up, in operations that torch.export can also trace for an unknown size
        below, right = ((side + step - 1) // step * step - side for side in tensor.shape[-2:])
        return F.pad(tensor, (0, right, 0, below), value=value)
