"""Dividing a dataset into train, val and test, or into k folds with one shared test set.

Scenes stay whole, and classes are spread by their pixels. The same images, ratios and seed give the
same parts on every machine and for every order of files, because all decisions are made in whole
numbers, on sorted scenes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
                f"{self.folds} folds are impossible; allowed: 1 (one train, one val), or 2 and more."
            )
        possible = 0 <= self.test < 1
        if self.folds == 1:
            possible = possible and self.val > 0 and self.val + self.test < 1
        if not possible:
            raise InputError(
                f"the shares val {self.val:g} and test {self.test:g} are impossible; each lies in "
                "0..1, val is more than 0, and something must be left for train."
            )

    @property
    def parts(self) -> dict[str, float]:
        """Share of every part that an image may go to."""
        if self.folds == 1:
            parts = {"train": 1 - self.val - self.test, "val": self.val}
        else:
            parts = {f"fold_{fold}": (1 - self.test) / self.folds for fold in range(self.folds)}
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
    members: dict[str, list[int]] = {}
    for position, scene in enumerate(scenes):
        members.setdefault(scene, []).append(position)
    parts = ratios.parts
    if len(members) < len(parts):
        raise InputError(
            f"{plural(len(members), 'scene')} cannot be divided into {len(parts)} parts "
            f"({', '.join(parts)}), because a scene stays whole. "
            "Ask for fewer parts (--test 0 leaves the test set out), or correct scene_pattern."
        )
    names = sorted(members)
    shares = _shares([members[name] for name in names], pixels, len(scenes))
    sizes = [len(members[name]) for name in names]
    ratios_of_parts = list(parts.values())
    quotas = np.array(_quotas(len(scenes), ratios_of_parts), np.int64)
    pool = Pool(shares[:, :-1], np.array(sizes, np.int64), _wanted(ratios_of_parts), quotas)
    greedy = _assign(
        shares, sizes, ratios_of_parts, numpy_stream(seed, "split").permutation(len(names))
    )
    chosen = improve(pool, np.array(greedy, np.int64)).tolist()
    result: dict[str, list[int]] = {part: [] for part in parts}
    for name, part in zip(names, chosen, strict=True):
        result[list(parts)[part]] += members[name]
    return {part: sorted(positions) for part, positions in result.items()}


def files_of(parts: Mapping[str, list[int]], ratios: Ratios) -> dict[str, list[int]]:
    """Return positions by the index files of the parts.

    They are called ``train``, ``val`` and ``test``, or ``fold_0_train``, ``fold_0_val``, …, ``test``.
    """
    if ratios.folds == 1:
        return dict(parts)
    files = {}
    for fold in range(ratios.folds):
        others = [parts[f"fold_{other}"] for other in range(ratios.folds) if other != fold]
        files[f"fold_{fold}_train"] = sorted(position for part in others for position in part)
        files[f"fold_{fold}_val"] = parts[f"fold_{fold}"]
    if "test" in parts:
        files["test"] = parts["test"]
    return files


def _shares(groups: list[list[int]], pixels: np.ndarray | None, count: int) -> np.ndarray:
    """Return G×(K+1) int64: each scene's share of every class's pixels, and last of all images.

    Shares are in :data:`UNIT`.
    """
    columns = [np.array([len(group) for group in groups], np.int64)[:, None] * UNIT // count]
    if pixels is not None:
        counts = np.stack([pixels[group].sum(axis=0, dtype=np.int64) for group in groups])
        totals = counts.sum(axis=0)
        coarse = np.maximum(totals >> 36, 1)  # so that no product exceeds 63 bits
        columns.insert(0, counts // coarse * UNIT // np.maximum(totals // coarse, 1))
    return np.concatenate(columns, axis=1)


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
