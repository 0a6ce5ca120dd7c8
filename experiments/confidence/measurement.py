"""Measure how far probabilities can be relied on, image by image, with nothing kept of the pixels.

First the calibration images give the temperature and the thresholds, then the others are evaluated.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from encoder_ablations.engine.evaluation.calibration import Calibration
from encoder_ablations.engine.evaluation.conformal import Calibrator, ImageMisses, thresholds
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.metrics import mean_iou
from encoder_ablations.engine.evaluation.selective import RiskCoverage
from encoder_ablations.engine.evaluation.temperature import (
    PixelSample,
    fit_temperature,
    tempered,
)
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.confidence.pixels import (
    Chosen,
    Pixels,
    labelled_count,
    labelled_pixels,
)
from encoder_ablations.experiments.confidence.record import ImageRecord
from encoder_ablations.utils.errors import InputError

Advance = Callable[[], object]
"""Called after every image."""


@dataclass(frozen=True)
class Fitted:
    """What the calibration images gave.

    Attributes:
        temperature: of the probabilities.
        thresholds: (K,) of the sets; 0 for classes in too few images.
        images: (K,) int64, in how many calibration images each class occurs.
    """

    temperature: float
    thresholds: np.ndarray
    images: np.ndarray


def fit(predictor: Predictor, images: Chosen, level: float, advance: Advance) -> Fitted:
    """Return temperature and thresholds from calibration images.

    Args:
        predictor: whose probabilities they are for.
        images: that no model has learned from.
        level: the miss rate α to be held.
        advance: called after every image.

    Raises:
        InputError: no pixel of the images is labelled.
    """
    classes = len(predictor.classes)
    sample = PixelSample(len(images), classes)
    calibrator = Calibrator(classes)
    found = 0
    for image in images:
        labelled = labelled_count(image)
        places = torch.from_numpy(sample.chosen(image.id, labelled))
        misses = ImageMisses.empty(classes)
        first = 0
        for part in labelled_pixels(predictor, image):
            misses += ImageMisses.of(part.probabilities, part.truth)
            # the chosen places that lie in this part
            stop = first + len(part.truth)
            here = places[(places >= first) & (places < stop)] - first
            sample.add(part.probabilities[here], part.truth[here])
            first = stop
        calibrator.add(misses)
        found += labelled
        advance()
    if not found:
        raise InputError(
            f"no pixel of the {images.images.split} images of '{images.images.spec.name}' is "
            "labelled, so there is nothing to fit a temperature on."
        )
    chosen = np.nan_to_num(calibrator.chosen(level), nan=0.0)
    return Fitted(fit_temperature(sample.all()), chosen, calibrator.images)


@dataclass
class Sets:
    """Counts over the evaluated images' sets of classes.

    Attributes:
        sizes: (K + 1,) int64, pixels by the number of classes in their set.
        miss_rates: (K,) float64, sum over images of the share of a class's pixels that are missed.
        images: (K,) int64, in how many images each class occurs.
    """

    sizes: np.ndarray
    miss_rates: np.ndarray
    images: np.ndarray


@dataclass
class Evaluated:
    """Sums over the evaluated images.

    Attributes:
        before, after: calibration without and with the temperature.
        entropy, disagreement: risk by the two uncertainties.
        sets: of classes.
        images: uncertainty and IoU of each image with a labelled pixel.
        disagreements: mean disagreement of the same images.
    """

    before: Calibration
    after: Calibration
    entropy: RiskCoverage
    disagreement: RiskCoverage
    sets: Sets
    images: list[ImageRecord] = field(default_factory=list)
    disagreements: list[float] = field(default_factory=list)


def measure(predictor: Predictor, images: Chosen, fitted: Fitted, advance: Advance) -> Evaluated:
    """Return the sums over images that the temperature and the thresholds do not come from.

    Args:
        predictor: whose probabilities are judged.
        images: evaluated ones.
        fitted: see :func:`fit`.
        advance: called after every image.

    Raises:
        InputError: no pixel of the images is labelled.
    """
    classes = len(predictor.classes)
    no_sets = Sets(np.zeros(classes + 1, np.int64), np.zeros(classes), np.zeros(classes, np.int64))
    risks = (RiskCoverage.empty(), RiskCoverage.empty())
    result = Evaluated(Calibration.empty(classes), Calibration.empty(classes), *risks, no_sets)
    for image in images:
        _add_image(image.id, labelled_pixels(predictor, image), fitted, result)
        advance()
    if not result.images:
        raise InputError(
            f"no pixel of the {images.images.split} images of '{images.images.spec.name}' is "
            "labelled, so there is nothing to evaluate."
        )
    return result


def _add_image(id: str, parts: Iterable[Pixels], fitted: Fitted, result: Evaluated) -> None:
    """Add all parts of an image to the sums; one without a labelled pixel adds nothing."""
    classes = len(fitted.thresholds)
    confusion, misses = ConfusionMatrix.empty(classes), ImageMisses.empty(classes)
    uncertainty = disagreement = 0.0
    for part in parts:
        confusion += ConfusionMatrix.of(part.predicted, part.truth, classes)
        misses += ImageMisses.of(part.probabilities, part.truth)
        uncertainty += float(part.uncertainty.double().sum())
        disagreement += float(part.disagreement.double().sum())
        _add_part(part, fitted, result)
    pixels = int(confusion.counts.sum())
    if not pixels:
        return
    rates, present = misses.rates()
    # thresholds are some of those that are tried
    places = np.searchsorted(thresholds(), fitted.thresholds)
    result.sets.miss_rates += rates[np.arange(classes), places]
    result.sets.images += present
    result.images.append(
        ImageRecord(id=id, uncertainty=uncertainty / pixels, miou=mean_iou(confusion))
    )
    result.disagreements.append(disagreement / pixels)


def _add_part(part: Pixels, fitted: Fitted, result: Evaluated) -> None:
    """Add what is counted over pixels alone."""
    wrong = part.predicted != part.truth
    result.before += Calibration.of(part.probabilities, part.truth)
    softened = tempered(part.probabilities, fitted.temperature)
    result.after += Calibration.of(softened, part.truth)
    result.entropy += RiskCoverage.of(part.uncertainty, wrong)
    result.disagreement += RiskCoverage.of(part.disagreement, wrong)
    sizes = (part.probabilities >= torch.from_numpy(fitted.thresholds)).sum(dim=1)
    result.sets.sizes += torch.bincount(sizes, minlength=len(result.sets.sizes)).numpy()
