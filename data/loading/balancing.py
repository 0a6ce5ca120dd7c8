"""How often images with and without the object are trained on, in datasets of two classes."""

from collections.abc import Callable, Sequence

import numpy as np

from encoder_ablations.utils.errors import InputError


class Mixed(list[int]):
    """Indices of samples of which each epoch shows those with an object in a given share.

    An epoch is as long as the list. It shows all images of a kind as many times as they fit, and
    some of them, drawn anew in each epoch, once more.
    """

    def __init__(self, indices: Sequence[int], shows: np.ndarray, pos_ratio: float) -> None:
        """Divide the samples by whether they show the object.

        Args:
            indices: the samples that are trained on.
            shows: N bool, which samples of the dataset show the object.
            pos_ratio: share of those with an object, 0..1.

        Raises:
            InputError: there is no image of a kind that is asked for.
        """
        super().__init__(indices)
        chosen = np.asarray(indices, np.int64)
        positive = np.asarray(shows, bool)[chosen]
        self._positive, self._negative = chosen[positive], chosen[~positive]
        self._positives = round(pos_ratio * len(indices))
        for kind, found, wanted in (
            ("shows the object", self._positive, self._positives),
            ("is without the object", self._negative, len(indices) - self._positives),
        ):
            if wanted and not len(found):
                raise InputError(
                    f"pos_ratio {pos_ratio:g}: none of the {len(indices)} training images {kind}."
                )

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return the samples of one epoch, in no particular order."""
        positive = _some(self._positive, self._positives, rng)
        negative = _some(self._negative, len(self) - self._positives, rng)
        return np.concatenate([positive, negative])


def drawer(indices: Sequence[int]) -> Callable[[np.random.Generator], np.ndarray]:
    """Return what draws the samples of an epoch: all of them, or a share of each kind."""
    if isinstance(indices, Mixed):
        return indices.draw
    everything = np.asarray(indices, np.int64)
    return lambda rng: everything


def _some(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``count`` of the pool: all of it as often as it fits, the rest at random."""
    times, rest = divmod(count, max(1, len(pool)))
    return np.concatenate([np.tile(pool, times), rng.permutation(pool)[:rest]])
