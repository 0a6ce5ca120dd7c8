"""BatchNorm statistics of a run's frozen body, estimated on its own training images."""

import math
from collections.abc import Iterator, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.data.loading.items import Samples
from encoder_ablations.encoders.batch_norm import MOST_IMAGES
from encoder_ablations.encoders.freezing import fixed_batch_norms
from encoder_ablations.engine.training.batch_norm_statistics import estimate_statistics
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.seeding import numpy_stream

AT_ONCE = 16
"""The most images that pass the body together, in crops of the size that training uses."""


Part = tuple[Samples, Sequence[int]]
"""A dataset, and the positions of some of its samples."""


def prepare_statistics(
    segmenter: Segmenter, spec: RunSpec, train: Part, accelerator: Accelerator, workers: int = 0
) -> None:
    """Estimate the body's BatchNorm statistics, in place, if the run's encoder asks for it.

    The images are chosen by the run's seed, and seen as in evaluation: not augmented, at its scale.

    Args:
        segmenter: the run's model before training; it is moved to the device.
        spec: the run.
        train: a dataset, and which of its samples the run learns from.
        accelerator: the device, and the processes that share the run.
        workers: processes that load images; 0 = this one.

    Raises:
        InputError: an image cannot be read, or is too small.
    """
    if segmenter.encoder.batch_norm != "estimate":
        return
    segmenter.to(accelerator.device)
    estimate_statistics(segmenter, _batches(spec, train, workers))
    # rounding may differ between devices; all processes go on with the same numbers
    for norm in fixed_batch_norms(segmenter.encoder):
        for statistic in (norm.running_mean, norm.running_var):
            assert statistic is not None
            statistic.copy_(broadcast(statistic))


def chosen_images(indices: Sequence[int], seed: int) -> list[int]:
    """Return up to ``MOST_IMAGES`` of the images that a run learns from, drawn by its seed."""
    order = numpy_stream(seed, "batch norm").permutation(len(indices))
    return [indices[place] for place in order[:MOST_IMAGES]]


def _batches(spec: RunSpec, train: Part, workers: int) -> Iterator[Tensor]:
    """Yield the images, B×3×H×W uint8, in batches of nearly equal size."""
    samples, indices = train
    chosen = chosen_images(indices, spec.seed)
    # a last batch of very few images would have statistics of its own
    size = math.ceil(len(chosen) / math.ceil(len(chosen) / AT_ONCE))
    augmentation = spec.recipe.augmentation
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
