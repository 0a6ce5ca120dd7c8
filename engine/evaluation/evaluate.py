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
from encoder_ablations.engine.compilation import as_written
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.counting import count_image, start_count
from encoder_ablations.engine.evaluation.grouping import of_equal_size, read_together
from encoder_ablations.engine.evaluation.per_image import ImageCounts
from encoder_ablations.engine.evaluation.picture import Picture
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.features import Features
from encoder_ablations.segmenters.ops.transfers import sent
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.arithmetic import tensor_float32


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
    batch: int = 1,
) -> Evaluation:
    """Predict every image and count its pixels by truth and prediction.

    Images are predicted in true float32 (no TF32). Only their counts are kept, a few kilobytes
    each, and the first few as pictures. Of several processes each takes its share of ``items``, and
    all get the sum.

    Args:
        segmenter: the model; afterwards it is in the mode that it was in.
        items: this process's images and masks.
        classes: K.
        accelerator: the device and the processes.
        keep_pictures: how many of the first items are returned as pictures.
        advance: called after every image, for progress.
        read: gives the model's input for an item, see :class:`FeatureSource`; None = its image.
        relabel: int64, predicted class -> class id in the masks; None = they are the same.
        batch: images that are predicted together, if they follow each other and are of one size.
    """
    read = read or partial(_own_image, device=accelerator.device)
    was_training = segmenter.training
    segmenter.eval()
    result = Evaluation(ConfusionMatrix.empty(classes))
    if relabel is None:
        result.image_classes = _no_images(segmenter)
    counter = _Counter(result, classes, keep_pictures)
    with torch.inference_mode(), tensor_float32(False), as_written(segmenter):
        for group in of_equal_size(items, batch):
            maps = segmenter.predict(read_together(group, read))
            predictions = maps.labels((group[0].mask.shape[0], group[0].mask.shape[1]))
            if relabel is not None:
                predictions = relabel[predictions]
            counter.add(group, predictions)
            if result.image_classes is not None:
                result.image_classes += _count_image_classes(group, maps)
            for _ in group:
                advance()
        counter.finish()
    segmenter.train(was_training)
    _sum_over_processes(result, accelerator)
    return result


class _Counter:
    """Adds images to a result; those of a GPU after the next ones have been begun.

    Args:
        result: what they are added to.
        classes: K.
        keep_pictures: how many of the first images become pictures.
    """

    def __init__(self, result: Evaluation, classes: int, keep_pictures: int) -> None:
        self.result = result
        self.classes = classes
        self.keep_pictures = keep_pictures
        self.started: list[tuple[str, Callable[[], ConfusionMatrix]]] = []

    def add(self, group: Sequence[EvaluationItem], predictions: Tensor) -> None:
        """Begin to count images, and add those before.

        Args:
            group: the images.
            predictions: B×H×W class ids.
        """
        before, self.started = self.started, []
        for item, prediction in zip(group, predictions, strict=True):
            truth = sent(item.mask, prediction.device)
            counts = start_count(item.id, prediction, truth, self.classes)
            self.started.append((item.id, counts))
            if len(self.result.pictures) < self.keep_pictures:
                picture = Picture(item.id, item.image, item.mask, prediction.cpu())
                self.result.pictures.append(picture)
        self._read(before)

    def finish(self) -> None:
        """Add the last images."""
        self._read(self.started)

    def _read(self, started: Sequence[tuple[str, Callable[[], ConfusionMatrix]]]) -> None:
        for id, read in started:
            counts = read()
            self.result.confusion += counts
            self.result.images.append(ImageCounts.of(id, counts))


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


def _count_image_classes(items: Sequence[EvaluationItem], maps: ScoreMaps) -> ConfusionMatrix:
    """Return the count of whole images by their true and their predicted class."""
    assert maps.image_scores is not None
    predicted, classes = maps.image_scores.argmax(dim=1).cpu(), maps.image_scores.shape[1]
    total = ConfusionMatrix.empty(classes)
    for item, guess in zip(items, predicted, strict=True):
        if item.image_class is None:
            raise ValueError(f"sample '{item.id}' has no class of the whole image to compare with")
        truth = torch.full_like(guess, item.image_class)
        total += count_image(item.id, guess, truth, classes)
    return total


def _own_image(item: EvaluationItem, device: torch.device) -> Tensor:
    return sent(item.image.unsqueeze(0), device)


def gather_images(images: Sequence[ImageCounts], accelerator: Accelerator) -> list[ImageCounts]:
    """Return all processes' images in the order of the set; each process took every n-th one."""
    if accelerator.num_processes == 1:
        return list(images)
    shares: list[list[ImageCounts]] = gather_object([list(images)])
    return [image for image in chain.from_iterable(zip_longest(*shares)) if image is not None]
