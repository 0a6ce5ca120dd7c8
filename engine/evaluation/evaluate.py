"""Evaluate a segmenter on a set of images, at the resolution of each mask."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, zip_longest

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from encoder_ablations.data.loading.items import EvaluationItem
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.per_image import ImageCounts
from encoder_ablations.engine.evaluation.picture import Picture
from encoder_ablations.segmenters.base import Features, Segmenter
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.errors import InputError


@dataclass
class Evaluation:
    """The result of :func:`evaluate`; ``images`` are those of this process, in their order."""

    confusion: ConfusionMatrix
    images: list[ImageCounts] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


def evaluate(
    segmenter: Segmenter,
    items: Iterable[EvaluationItem],
    classes: int,
    accelerator: Accelerator,
    keep_pictures: int = 0,
    advance: Callable[[], object] = lambda: None,
    read: Callable[[EvaluationItem], Tensor | Features] | None = None,
    relabel: Tensor | None = None,
) -> Evaluation:
    """Predict every image and count its pixels by truth and prediction.

    Images are predicted one at a time in true float32 (no TF32). Only their counts are kept, a few
    kilobytes each, and the first few as pictures. Of several processes each takes its share of
    ``items``, and all get the sum.

    Args:
        segmenter: the model; afterwards it is in the mode that it was in.
        items: this process's images and masks.
        classes: K.
        accelerator: the device and the processes.
        keep_pictures: how many of the first items are returned as pictures.
        advance: called after every image, for progress.
        read: gives the model's input for an item, see :class:`FeatureSource`; None = its image.
        relabel: int64, predicted class -> class id in the masks; None = they are the same.
    """
    read = read or partial(_own_image, device=accelerator.device)
    was_training = segmenter.training
    segmenter.eval()
    result = Evaluation(ConfusionMatrix.empty(classes))
    with torch.inference_mode(), tensor_float32(False):
        for item in items:
            maps = segmenter.predict(read(item))
            prediction = maps.labels((item.mask.shape[0], item.mask.shape[1]))[0]
            if relabel is not None:
                prediction = relabel[prediction]
            truth = item.mask.to(prediction.device)
            counts = count_image(item.id, prediction, truth, classes)
            result.confusion += counts
            result.images.append(ImageCounts.of(item.id, counts))
            if len(result.pictures) < keep_pictures:
                result.pictures.append(Picture(item.id, item.image, item.mask, prediction.cpu()))
            advance()
    segmenter.train(was_training)
    total = accelerator.reduce(
        torch.from_numpy(result.confusion.counts).to(accelerator.device), "sum"
    )
    result.confusion = ConfusionMatrix(total.cpu().numpy())
    return result


def _own_image(item: EvaluationItem, device: torch.device) -> Tensor:
    return item.image.unsqueeze(0).to(device)


def count_image(id: str, prediction: Tensor, truth: Tensor, classes: int) -> ConfusionMatrix:
    """Return one image's counts, see :meth:`ConfusionMatrix.of`; errors begin with its ``id``."""
    try:
        return ConfusionMatrix.of(prediction, truth, classes)
    except InputError as error:
        raise InputError(f"{id}: {error}") from error


def gather_images(images: Sequence[ImageCounts], accelerator: Accelerator) -> list[ImageCounts]:
    """Return all processes' images in the order of the set; each process took every n-th one."""
    if accelerator.num_processes == 1:
        return list(images)
    shares: list[list[ImageCounts]] = gather_object([list(images)])
    return [image for image in chain.from_iterable(zip_longest(*shares)) if image is not None]
