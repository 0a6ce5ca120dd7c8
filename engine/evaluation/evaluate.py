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
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.features import Features
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.errors import InputError


@dataclass
class Evaluation:
    """The result of :func:`evaluate`; ``images`` are those of this process, in their order.

    ``image_classes`` counts whole images by their true and their predicted class; None for a model
    without an image head, or where classes are compared with those of another dataset.
    """

    confusion: ConfusionMatrix
    images: list[ImageCounts] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    image_classes: ConfusionMatrix | None = None


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
    if relabel is None:
        result.image_classes = _no_images(segmenter)
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
            if result.image_classes is not None:
                result.image_classes += _count_image_class(item, maps)
            if len(result.pictures) < keep_pictures:
                result.pictures.append(Picture(item.id, item.image, item.mask, prediction.cpu()))
            advance()
    segmenter.train(was_training)
    _sum_over_processes(result, accelerator)
    return result


def _no_images(segmenter: Segmenter) -> ConfusionMatrix | None:
    """Return the matrix of no whole images; None for a model that does not predict their class."""
    if segmenter.image_head is None:
        return None
    return ConfusionMatrix.empty(segmenter.image_head.num_classes)


def _sum_over_processes(result: Evaluation, accelerator: Accelerator) -> None:
    """Replace the counts of this process by those of all together."""
    result.confusion = _summed(result.confusion, accelerator)
    if result.image_classes is not None:
        result.image_classes = _summed(result.image_classes, accelerator)


def _summed(confusion: ConfusionMatrix, accelerator: Accelerator) -> ConfusionMatrix:
    """Return the sum of all processes' counts."""
    counts = torch.from_numpy(confusion.counts).to(accelerator.device)
    return ConfusionMatrix(accelerator.reduce(counts, "sum").cpu().numpy())


def _count_image_class(item: EvaluationItem, maps: ScoreMaps) -> ConfusionMatrix:
    """Return the count of one whole image by its true and its predicted class."""
    assert maps.image_scores is not None
    if item.image_class is None:
        raise ValueError(f"sample '{item.id}' has no class of the whole image to compare with")
    predicted = maps.image_scores.argmax(dim=1)
    truth = torch.full_like(predicted, item.image_class)
    return count_image(item.id, predicted, truth, maps.image_scores.shape[1])


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
