"""Intervals that also cover the choice of test images.

Two things are left to chance in a score: how training went (seeds) and which images it was tested
on. All seeds and encoders are scored on the same images, so the two are crossed, not nested, and
one draw of images serves all of them (Owen, The pigeonhole bootstrap, 2007). Images are resampled
with replacement, whole scenes where the dataset names them, and mIoU is computed from the resampled
sum of counts, as it is from the whole set. Seeds are too few for that: three give only ten
different resamples, whose percentile interval holds the truth in about 75 of 100 studies. Their
level is therefore drawn from Student's t about the mean. Without variation between images the
interval becomes the t interval over seeds.

The spread of the resamples is itself an estimate. Where a few images decide, those that show a rare
class, it is a poor one, and plain percentiles would be too narrow. The deviations are therefore
divided by a random root of chi-square over its degrees of freedom, as Student's t does with a
normal variable; the degrees follow from how unequally the images weigh. With many images of equal
weight this is the percentile bootstrap.

Assumed: images (or scenes) are independent draws from what the encoder will meet, seeds
independent, their scores about normal. Images that belong together but are not declared as a scene
make the interval too short; so does a class that occurs in one or two images only, whose score
elsewhere nobody can tell from them (:func:`occurrences`).
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy

from encoder_ablations.experiments.stats.distributions import chi_square_quantiles
from encoder_ablations.experiments.stats.seeds import CONFIDENCE, ENOUGH
from encoder_ablations.utils.seeding import numpy_stream

DRAWS = 1000
ENOUGH_SCENES = 10
"""Fewest images (or scenes) that are resampled."""
FEW_OCCURRENCES = 3
"""A class in fewer images (or scenes) than this makes intervals over images too narrow."""


Score = Callable[[np.ndarray], np.ndarray]
"""D×3×K sums of hits, truth, prediction -> a metric of each, (D,)."""


class Resampled(NamedTuple):
    """A score on other images.

    Attributes:
        draws: (draws,), on each resample of the images.
        left_out: (scenes,), on all images but those of each scene.
    """

    draws: np.ndarray
    left_out: np.ndarray

    def minus(self, other: "Resampled") -> "Resampled":
        """Return the difference of two scores on the same images."""
        return Resampled(self.draws - other.draws, self.left_out - other.left_out)


def resampling_weights(scenes: Sequence[str], draws: int = DRAWS) -> np.ndarray | None:
    """Return how often each image occurs in each resample; None for fewer than ten scenes.

    Equal ``scenes`` give equal weights, so that the draws of two encoders are paired.

    Args:
        scenes: for each image, its scene; its own name without one.
        draws: number of resamples.

    Returns:
        draws×N float64.
    """
    names, member = np.unique(np.asarray(scenes, dtype=np.str_), return_inverse=True)
    count = len(names)
    if count < ENOUGH_SCENES:
        return None
    picked = numpy_stream(0, "images", count).multinomial(
        count, np.full(count, 1 / count), size=draws
    )
    return picked[:, member].astype(np.float64)


def miou_of_sums(sums: np.ndarray) -> np.ndarray:
    """Return the mIoU of D×3×K sums of hits, truth, prediction: (D,)."""
    hits, truth, guess = np.moveaxis(sums, 1, 0)
    present = truth > 0
    iou = np.divide(hits, truth + guess - hits, out=np.zeros_like(hits), where=present)
    return np.asarray(iou.sum(axis=1) / np.maximum(present.sum(axis=1), 1))


def accuracy_of_sums(sums: np.ndarray) -> np.ndarray:
    """Return the share of all that is right, of D×3×K sums of hits, truth, prediction: (D,)."""
    hits, truth, _ = sums.sum(axis=2).T
    return np.asarray(hits / np.maximum(truth, 1))


def miou_of_draws(
    weights: np.ndarray, margins: np.ndarray, score: Score = miou_of_sums
) -> np.ndarray:
    """Return the mIoU over the classes present in the truth, for each resample: (draws,).

    Args:
        weights: draws×N.
        margins: N×3×K pixels that are hits, truth, prediction (:meth:`PerImage.margins`).
        score: another metric in place of the mIoU.
    """
    sums = weights @ margins.reshape(len(margins), -1)
    return score(sums.reshape(len(weights), *margins.shape[1:]))


def miou_without_each(
    scenes: Sequence[str], margins: np.ndarray, score: Score = miou_of_sums
) -> np.ndarray:
    """Return the mIoU without each scene in turn (the jackknife): (scenes,).

    Args:
        scenes: as for :func:`resampling_weights`.
        margins: N×3×K, as for :func:`miou_of_draws`.
        score: another metric in place of the mIoU.
    """
    sums = _sums_of_scenes(scenes, margins)
    return score(sums.sum(axis=0) - sums)


def occurrences(scenes: Sequence[str], margins: np.ndarray) -> np.ndarray:
    """Return in how many scenes each class occurs in the truth: (K,)."""
    return np.asarray((_sums_of_scenes(scenes, margins)[:, 1] > 0).sum(axis=0))


def _sums_of_scenes(scenes: Sequence[str], margins: np.ndarray) -> np.ndarray:
    names, member = np.unique(np.asarray(scenes, dtype=np.str_), return_inverse=True)
    sums = np.zeros((len(names), *margins.shape[1:]))
    if len(names) == len(member):
        # nothing to add where each image is its own scene
        sums[member] = margins
    else:
        np.add.at(sums, member, margins)
    return sums


def interval_over_seeds_and_images(
    values: Sequence[float], others: Sequence[Resampled]
) -> tuple[float, float]:
    """Return the 95 % interval of the mean over seeds and images; NaN below three seeds.

    For the difference of two encoders, give the values and resampled scores of the first minus
    those of the second.

    Args:
        values: one score per seed, on all images.
        others: for each seed, the same score on other images.
    """
    n = len(values)
    if n < ENOUGH:
        return math.nan, math.nan
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    by_images = _by_images(
        Resampled(
            np.mean([each.draws for each in others], axis=0),
            np.mean([each.left_out for each in others], axis=0),
        )
    )
    by_seeds = spread / np.sqrt(n) * _student(n - 1, len(by_images))
    return _middle_part(mean + by_images + by_seeds)


def interval_over_images(value: float, other: Resampled) -> tuple[float, float]:
    """Return the 95 % interval over images of a score in which nothing else is random.

    For the difference of two encoders, give that of their scores and resampled scores.

    Args:
        value: the score on all images.
        other: the same score on other images.
    """
    return _middle_part(value + _by_images(other))


def _by_images(resampled: Resampled) -> np.ndarray:
    """Return how far the score on other images may be from that on all, one value a draw."""
    draws, left_out = resampled
    # about their own mean: resampled sums miss rare classes, which shifts all draws alike
    deviations = (draws - draws.mean()) * np.sqrt(len(left_out) / (len(left_out) - 1))
    found: np.ndarray = deviations * _root_of_chi_square(degrees_of_freedom(left_out), len(draws))
    return found


def _middle_part(draws: np.ndarray) -> tuple[float, float]:
    """Return the bounds between which 95 % of the draws lie."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def degrees_of_freedom(left_out: np.ndarray) -> float:
    """Return how well the spread between images is known, in degrees of freedom.

    They are their number - 1 at most, and near 2 if a single image decides.

    A variance of n values of kurtosis k has itself the relative variance (k - 1) / n; that of
    chi-square with f degrees of freedom is 2 / f (Satterthwaite, 1946). Hence f = 2 n / (k - 1).

    Args:
        left_out: the score without each of the n images.
    """
    n = len(left_out)
    squares = (left_out - left_out.mean()) ** 2
    if not squares.sum():
        return n - 1.0
    kurtosis = n * (squares**2).sum() / squares.sum() ** 2
    return float(min(n - 1, 2 * n / max(kurtosis - 1, 1e-9)))


def _root_of_chi_square(freedom: float, draws: int) -> np.ndarray:
    """Return quantiles of sqrt(f / chi-square with f degrees of freedom) in random order.

    A normal variable times such a root is Student's t.
    """
    places = (np.arange(draws) + 0.5) / draws
    roots = np.sqrt(freedom / chi_square_quantiles(places, freedom))
    return numpy_stream(0, "spread of images", draws).permutation(roots)


@lru_cache(maxsize=64)
def _student(freedom: int, draws: int) -> np.ndarray:
    """Return quantiles of Student's t in random order; their spread is exact."""
    places = (np.arange(draws) + 0.5) / draws
    return numpy_stream(0, "seeds", freedom).permutation(scipy.special.stdtrit(freedom, places))
