"""What passes between datasets, loaders and models: samples, batches, images to evaluate."""

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from encoder_ablations.data.datasets.sample import Sample


class Samples(Protocol):
    """Any dataset of this package."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...

    def image_file(self, index: int, /) -> Path:
        """Return the file that a sample's image is read from."""


@runtime_checkable
class ShrunkSamples(Samples, Protocol):
    """Samples that are kept smaller than their files."""

    def full_mask(self, index: int, /) -> np.ndarray:
        """Return H×W int64 class ids at the size of the mask file."""


class View(NamedTuple):
    """The ``number``-th fixed view of the sample at ``place`` of its dataset."""

    place: int
    number: int


class Batch(NamedTuple):
    """``images`` B×3×H×W uint8, RGB 0..255; ``masks`` B×H×W, ignored as in the samples.

    Masks are uint8 or uint16 as in the samples, an eighth of what would travel from workers and to
    devices as int64.
    ``views`` names each image where the number of views is fixed: equal names, equal images. It is
    empty otherwise. With MixUp ``others`` are the masks of the images that were blended in, and
    ``share`` is which part of the loss is that of ``masks``. ``image_classes`` B int64 are the
    classes of the whole images, where the dataset has them beside its masks.
    """

    images: Tensor
    masks: Tensor
    views: tuple[View, ...] = ()
    others: Tensor | None = None
    share: float = 1.0
    image_classes: Tensor | None = None


class EvaluationItem(NamedTuple):
    """``image`` 3×h×w uint8, RGB 0..255; ``mask`` H×W int64 at the mask file's own size.

    ``id`` is the sample's, ``place`` its index in its dataset, ``image_class`` the class of the
    whole image where the dataset has one beside the mask.
    """

    image: Tensor
    mask: Tensor
    id: str
    place: int | None = None
    image_class: int | None = None
