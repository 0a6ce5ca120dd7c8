"""The training images on which BatchNorm statistics are estimated."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.data.loading.items import Samples
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.batch_norm import MOST_IMAGES
from encoder_ablations.utils.seeding import numpy_stream

AT_ONCE = 16
"""The most images that pass the model together, in crops of the size that training uses."""


def chosen_images(indices: Sequence[int], seed: int) -> list[int]:
    """Return up to ``MOST_IMAGES`` of the images that a run learns from, drawn by its seed."""
    order = numpy_stream(seed, "batch norm").permutation(len(indices))
    return [indices[place] for place in order[:MOST_IMAGES]]


def statistic_batches(
    samples: Samples,
    indices: Sequence[int],
    augmentation: AugmentationSpec,
    seed: int,
    workers: int = 0,
) -> Iterator[Tensor]:
    """Yield the images, B×3×H×W uint8, in batches of nearly equal size.

    They are seen as in evaluation: not augmented, at its scale.

    Args:
        samples: the training images.
        indices: which of them the run learns from.
        augmentation: gives the scale, and the largest size of a crop.
        seed: the run's, which chooses the images.
        workers: processes that load images; 0 = this one.
    """
    chosen = chosen_images(indices, seed)
    # a last batch of very few images would have statistics of its own
    size = math.ceil(len(chosen) / math.ceil(len(chosen) / AT_ONCE))
    images: list[Tensor] = []
    for item in evaluation_items(samples, chosen, augmentation, workers=workers):
        images.append(item.image)
        if len(images) == size:
            yield _stack(images, augmentation.crop)
            images = []
    if images:
        yield _stack(images, augmentation.crop)


def _stack(images: Sequence[Tensor], crop: tuple[int, int]) -> Tensor:
    """Return the middles of images 3×H×W, as large as all have it, but no larger than a crop."""
    height = min(crop[0], *(image.shape[-2] for image in images))
    width = min(crop[1], *(image.shape[-1] for image in images))
    return torch.stack([_middle(image, height, width) for image in images])


def _middle(image: Tensor, height: int, width: int) -> Tensor:
    """Return the window in the middle of an image C×H×W."""
    top = (image.shape[-2] - height) // 2
    left = (image.shape[-1] - width) // 2
    return image[:, top : top + height, left : left + width]
