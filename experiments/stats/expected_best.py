"""The score to expect of the best of k trials (Dodge et al., Show Your Work, EMNLP 2019).

Trials are taken as independent draws from one distribution of settings. The estimate replaces that
distribution by the trials that there are. It is somewhat too low for k near their number (Tang et
al., ACL 2020), and a trial is not repeated, so the interval says how it hangs on which settings
were drawn, not on seeds.
"""

from typing import NamedTuple

import numpy as np

from encoder_ablations.utils.seeding import numpy_stream

DRAWS = 1000
CONFIDENCE = 0.95


class ExpectedBest(NamedTuple):
    """Expected best scores of 1, 2, … trials, and bounds of their 95 % bootstrap intervals."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def expected_best(scores: np.ndarray) -> np.ndarray:
    """Return the expected best of k trials, for k from 1 to their number.

    Args:
        scores: …×n, of n trials.

    Returns:
        …×n.
    """
    ordered = np.sort(scores, axis=-1)
    count = ordered.shape[-1]
    # eq. 4: the best of k is at most the i-th smallest with probability (i / n)^k
    shares = np.arange(count + 1) / count
    trials = np.arange(1, count + 1)
    weights = np.diff(shares[:, None] ** trials, axis=0)  # n×k
    found: np.ndarray = ordered @ weights
    return found


def expected_best_with_interval(scores: np.ndarray, seed: int = 0) -> ExpectedBest:
    """Return the expected best of 1, 2, … trials with percentile bootstrap intervals.

    Args:
        scores: (n,), of the trials.
        seed: of the resamples.
    """
    count = len(scores)
    places = numpy_stream(seed, "expected best").integers(count, size=(DRAWS, count))
    resampled = expected_best(np.asarray(scores)[places])
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
    return ExpectedBest(expected_best(np.asarray(scores)), low, high)
