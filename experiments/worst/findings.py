"""What models get wrong on the same images, image by image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.metrics import class_iou, mean_iou
from encoder_ablations.engine.evaluation.wrong_regions import WrongRegion, wrong_regions
from encoder_ablations.engine.inference.predictor import Predictor


class Region(NamedTuple):
    """A wrong region of one model.

    Attributes:
        model: its place among the models.
        region: where it lies, and what was taken for what.
    """

    model: int
    region: WrongRegion


@dataclass(frozen=True)
class ImageFindings:
    """One image.

    Attributes:
        id: its name.
        place: in the split.
        ious: (M,) mIoU of each model over the classes in the image's truth; NaN without a label.
        only: M×M int64: pixels where the model of the row is right and that of the column wrong.
        labelled: number of labelled pixels.
    """

    id: str
    place: int
    ious: np.ndarray
    only: np.ndarray
    labelled: int


@dataclass
class Findings:
    """All images of a split.

    Attributes:
        images: in the order of the split.
        regions: of each model the largest wrong ones over all images, the largest first.
        confusions: of each model, over all images.
    """

    images: list[ImageFindings] = field(default_factory=list)
    regions: list[list[WrongRegion]] = field(default_factory=list)
    confusions: list[ConfusionMatrix] = field(default_factory=list)

    def largest_regions(self, most: int) -> list[Region]:
        """Return the largest wrong regions, equally many of each model, the largest first."""
        of_model = max(1, most // len(self.regions))
        found = [
            Region(model, region)
            for model, regions in enumerate(self.regions)
            for region in regions[:of_model]
        ]
        return sorted(found, key=lambda each: -each.region.pixels)

    def worst_images(self, most: int) -> list[ImageFindings]:
        """Return the images with the lowest mean IoU over the models, the worst first."""
        labelled = [image for image in self.images if image.labelled]
        return sorted(labelled, key=lambda image: float(image.ious.mean()))[:most]

    def most_different(self, first: int, second: int, most: int) -> list[ImageFindings]:
        """Return the images with most pixels where only the ``first`` model is right."""
        differing = [image for image in self.images if image.only[first, second]]
        return sorted(differing, key=lambda image: -int(image.only[first, second]))[:most]

    def only(self) -> np.ndarray:
        """Return M×M shares of all labelled pixels: the row's model right, the column's wrong."""
        total = sum(image.labelled for image in self.images)
        models = len(self.confusions)
        sums = sum((image.only for image in self.images), np.zeros((models, models), np.int64))
        return np.asarray(sums / max(1, total))

    def class_ious(self) -> np.ndarray:
        """Return the IoU of each model and class, M×K; NaN where a class does not occur."""
        return np.array([class_iou(each) for each in self.confusions])


def look_through(
    predictors: Sequence[Predictor],
    images: FolderDataset,
    most_regions: int,
    advance: Callable[[], object],
) -> Findings:
    """Predict all images by every model, and return what is wrong.

    Args:
        predictors: one for each model, of the same classes.
        images: with masks.
        most_regions: how many wrong regions are kept of each model.
        advance: called after every image.
    """
    classes = len(predictors[0].classes)
    result = Findings()
    result.confusions = [ConfusionMatrix.empty(classes) for _ in predictors]
    result.regions = [[] for _ in predictors]
    for place in range(len(images)):
        sample = images[place]
        masks = [predicted_mask(predictor, sample) for predictor in predictors]
        _add(result, sample, place, masks, most_regions)
        advance()
    return result


def predicted_mask(predictor: Predictor, sample: Sample) -> np.ndarray:
    """Return the predicted class ids H×W of an image."""
    return predictor.predict(sample.image, keep_probabilities=False).mask.astype(np.int64)


def _add(
    result: Findings, sample: Sample, place: int, masks: Sequence[np.ndarray], most: int
) -> None:
    """Add an image, of which ``masks`` are the predictions."""
    truth = sample.truth
    labelled = truth != sample.ignore
    ious = np.zeros(len(masks))
    for model, mask in enumerate(masks):
        counts = _counted(mask[labelled], truth[labelled], len(result.confusions[model].counts))
        result.confusions[model] += counts
        ious[model] = mean_iou(counts)
        found = result.regions[model] + wrong_regions(sample.id, truth, mask, sample.ignore, most)
        result.regions[model] = sorted(found, key=lambda each: -each.pixels)[:most]
    right = np.array([(mask == truth)[labelled] for mask in masks], np.int64)
    # right by the row's model and wrong by the column's
    only = right @ (1 - right).T
    result.images.append(ImageFindings(sample.id, place, ious, only, int(labelled.sum())))


def _counted(predicted: np.ndarray, truth: np.ndarray, classes: int) -> ConfusionMatrix:
    cells = np.bincount(truth * classes + predicted, minlength=classes**2)
    return ConfusionMatrix(cells.reshape(classes, classes))
