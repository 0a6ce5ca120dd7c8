"""Dividing a dataset into train, val and test, or into k folds with one shared test set.

Scenes stay whole, and classes are spread by their pixels. The same images, ratios and seed give the
same parts on every machine and for every order of files, because all decisions are made in whole
numbers, on sorted scenes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from encoder_ablations.data.intake.split_search import UNIT, Pool, improve
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream
from encoder_ablations.utils.texts import plural

RULE = 3
"""Version of :func:`divide`; another one may divide the same images differently."""


@dataclass(frozen=True)
class Ratios:
    """How much goes where.

    Attributes:
        folds: 1 = one train and one val; k = k folds, each of which is once val.
        val: share of all images, 0..1; with several folds it follows from their number.
        test: share of all images, 0..1; 0 = no test set.
    """

    folds: int = 1
    val: float = 0.15
    test: float = 0.15

    def __post_init__(self) -> None:
        if self.folds < 1:
            raise InputError(
                f"{self.folds} folds are impossible; allowed: 1 (one train, one val), or more."
            )
        # the share of val is not read where there are several folds
        val = {1: self.val}.get(self.folds, 0.5 * (1 - self.test))
        if not (self.test >= 0 and val > 0 and self.test + val < 1):
            raise InputError(
                f"the shares val {self.val:g} and test {self.test:g} are impossible; each lies in "
                "0..1, val is more than 0, and something must be left for train."
            )

    @property
    def parts(self) -> dict[str, float]:
        """Share of every part that an image may go to."""
        parts = {f"fold_{fold}": (1 - self.test) / self.folds for fold in range(self.folds)}
        if self.folds == 1:
            parts = {"train": 1 - self.val - self.test, "val": self.val}
        if self.test:
            parts["test"] = self.test
        return parts


def divide(
    scenes: Sequence[str], pixels: np.ndarray | None, ratios: Ratios, seed: int
) -> dict[str, list[int]]:
    """Return positions of images, ascending, by part (see :attr:`Ratios.parts`).

    The scenes that hold much of any class go first, in a seeded order among those that hold about
    as much. Each goes to the part that then lies nearest to its share of every class's pixels and
    of the images, in relation to that share. This is the greedy rule of Sechidis, Tsoumakas &
    Vlahavas (ECML 2011), for pixel counts instead of labels. Where a part then lacks much of a
    class, scenes are exchanged (:func:`~encoder_ablations.data.intake.split_search.improve`).

    Args:
        scenes: the name of each image's scene; images of one scene stay together.
        pixels: N×K pixels of each class; None divides by number alone.
        ratios: how much goes where.
        seed: of the order of scenes.

    Raises:
        InputError: there are fewer scenes than parts.
    """
    parts = ratios.parts
    # sorted, so that the order of images does not matter
    names, scene_of, sizes = np.unique(np.array(scenes), return_inverse=True, return_counts=True)
    if len(names) < len(parts):
        raise InputError(
            f"{plural(len(names), 'scene')} cannot be divided into {len(parts)} parts "
            f"({', '.join(parts)}), because a scene stays whole. "
            "Ask for fewer parts (--test 0 leaves the test set out), or correct scene_pattern."
        )
    shares = _shares(scene_of, sizes, pixels)
    ratios_of_parts = list(parts.values())
    quotas = np.array(_quotas(len(scenes), ratios_of_parts), np.int64)
    pool = Pool(shares[:, :-1], sizes, _wanted(ratios_of_parts), quotas)
    order = numpy_stream(seed, "split").permutation(len(names))
    greedy = _assign(shares, sizes.tolist(), ratios_of_parts, order)
    chosen = improve(pool, np.array(greedy, np.int64))
    return {
        part: np.flatnonzero(chosen[scene_of] == number).tolist()
        for number, part in enumerate(parts)
    }


def files_of(parts: Mapping[str, list[int]], ratios: Ratios) -> dict[str, list[int]]:
    """Return positions by the index files of the parts.

    They are called ``train``, ``val`` and ``test``, or ``fold_0_train``, ``fold_0_val``, … and
    ``test``.
    """
    if ratios.folds == 1:
        return dict(parts)
    folds = dict(parts)
    test = folds.pop("test", None)
    files = {}
    for fold, val in folds.items():
        others = chain.from_iterable(part for name, part in folds.items() if name != fold)
        files[f"{fold}_train"] = sorted(others)
        files[f"{fold}_val"] = val
    if test:
        files["test"] = test
    return files


def _shares(scene_of: np.ndarray, sizes: np.ndarray, pixels: np.ndarray | None) -> np.ndarray:
    """Return G×(K+1) int64: each scene's share of every class's pixels, and last of all images.

    Shares are in :data:`UNIT`.
    """
    of_images = sizes[:, None] * UNIT // len(scene_of)
    if pixels is None:
        return of_images
    counts = np.zeros((len(sizes), pixels.shape[1]), np.int64)
    np.add.at(counts, scene_of, pixels)
    totals = counts.sum(axis=0)
    coarse = np.maximum(totals >> 36, 1)  # so that no product exceeds 63 bits
    of_pixels = counts // coarse * UNIT // np.maximum(totals // coarse, 1)
    return np.concatenate([of_pixels, of_images], axis=1)


def _assign(
    shares: np.ndarray, sizes: list[int], ratios: list[float], permutation: np.ndarray
) -> list[int]:
    """Return the part of every scene, by the greedy rule."""
    wanted = _wanted(ratios)[:, None]
    # errors count in relation to a part's size, or the largest part would take all of a rare class
    weights = [UNIT * UNIT // max(1, share) for share in wanted[:, 0].tolist()]
    filled = np.zeros((len(ratios), shares.shape[1]), np.int64)
    room = _quotas(sum(sizes), ratios)
    largest = shares.max(axis=1).tolist()
    order = sorted(permutation.tolist(), key=lambda scene: -_leading(largest[scene]))
    chosen = [0] * len(sizes)
    unused = set(range(len(ratios)))
    for position, scene in enumerate(order):
        if len(order) - position <= len(unused):  # the last scenes go where nothing is yet
            allowed = sorted(unused)
        else:
            fitting = [part for part, free in enumerate(room) if free >= sizes[scene]]
            allowed = fitting or [room.index(max(room))]
        share = shares[scene]
        # growth of the squared distance from what is wanted, summed over classes
        growth = (share * (2 * (filled[allowed] - wanted[allowed]) + share)).sum(axis=1).tolist()
        cost = [each * weights[part] for part, each in zip(allowed, growth, strict=True)]
        part = allowed[cost.index(min(cost))]
        unused.discard(part)
        filled[part] += share
        room[part] -= sizes[scene]
        chosen[scene] = part
    return chosen


def _wanted(ratios: list[float]) -> np.ndarray:
    """Return P int64: the share of every part, in :data:`UNIT`."""
    return np.array([round(ratio * UNIT) for ratio in ratios], np.int64)


def _leading(value: int) -> int:
    """Return a rank that is the same for values within about a quarter, and rises with them."""
    length = value.bit_length()
    return 4 * length + (value << 3 >> length & 3)


def _quotas(count: int, ratios: list[float]) -> list[int]:
    """Return whole images per part, by largest remainder, and at least one each."""
    exact = [ratio * count for ratio in ratios]
    quotas = [max(1, int(value + 1e-9)) for value in exact]
    by_remainder = sorted(range(len(ratios)), key=lambda part: (quotas[part] - exact[part], part))
    for part in by_remainder[: max(0, count - sum(quotas))]:
        quotas[part] += 1
    while sum(quotas) > count:
        quotas[quotas.index(max(quotas))] -= 1
    return quotas
