"""Intervals that also count the choice of test images: what if others of the same kind had been taken?

Two things are left to chance in a score: how training went (seeds) and which images it was tested on. All seeds and
encoders are scored on the same images, so the two are crossed, not nested, and one draw of images serves all of them
(Owen, The pigeonhole bootstrap, 2007). Images are resampled with replacement, whole scenes where the dataset names
them, and mIoU is computed from the resampled sum of counts, as it is from the whole set. Seeds are too few for that:
three give only ten different resamples, whose percentile interval holds the truth in about 75 of 100 studies. Their
level is therefore drawn from Student's t about the mean. Without variation between images the interval becomes the t
interval over seeds; without variation between seeds, the percentile bootstrap over images.

Assumed: images (or scenes) are independent draws from what the encoder will meet, seeds independent, their scores
about normal. Images that belong together but are not declared as a scene make the interval too short.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import stats

from encoder_ablations.experiments.stats.seeds import CONFIDENCE, ENOUGH
from encoder_ablations.utils.seeding import numpy_stream

DRAWS = 1000
ENOUGH_SCENES = 10
"""Fewest images (or scenes) that are resampled."""


def resampling_weights(scenes: Sequence[str], draws: int = DRAWS) -> np.ndarray | None:
    """How often each image occurs in each resample: draws×N float64; None for fewer than ten scenes.

    Equal ``scenes`` give equal weights, so that the draws of two encoders are paired.

    Args:
        scenes: for each image, what it belongs to; its own name if to nothing.
    """
    names, member = np.unique(np.asarray(scenes, dtype=np.str_), return_inverse=True)
    count = len(names)
    if count < ENOUGH_SCENES:
        return None
    picked = numpy_stream(0, "images", count).multinomial(count, np.full(count, 1 / count), size=draws)
    return picked[:, member].astype(np.float64)


def miou_of_draws(weights: np.ndarray, margins: np.ndarray) -> np.ndarray:
    """mIoU over the classes present in the truth, for each resample: (draws,).

    Args:
        weights: draws×N.
        margins: N×3×K pixels that are hits, truth, prediction (:meth:`PerImage.margins`).
    """
    sums = weights @ margins.reshape(len(margins), -1)
    hits, truth, guess = np.moveaxis(sums.reshape(len(weights), *margins.shape[1:]), 1, 0)
    present = truth > 0
    iou = np.divide(hits, truth + guess - hits, out=np.zeros_like(hits), where=present)
    return iou.sum(axis=1) / np.maximum(present.sum(axis=1), 1)


def interval_over_seeds_and_images(values: Sequence[float], draws: np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval of the mean over seeds and images; None below three seeds.

    Differences of two encoders go in as they are: values and draws of the first minus those of the second.

    Args:
        values: one score per seed, on all images.
        draws: seeds×draws, the same scores on each resample of the images.
    """
    n = len(values)
    if n < ENOUGH:
        return None
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    by_images = draws.mean(axis=0)
    by_seeds = spread / np.sqrt(n) * _student(n - 1, draws.shape[1])
    # about the mean of the resamples: resampled sums miss rare classes, which shifts all draws alike
    total = mean + (by_images - by_images.mean()) + by_seeds
    low, high = np.quantile(total, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@lru_cache(maxsize=64)
def _student(freedom: int, draws: int) -> np.ndarray:
    """Quantiles of Student's t in random order: their spread is exact, not that of a sample."""
    places = (np.arange(draws) + 0.5) / draws
    return numpy_stream(0, "seeds", freedom).permutation(stats.t.ppf(places, freedom))
