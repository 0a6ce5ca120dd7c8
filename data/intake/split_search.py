"""Mends a division: exchanges scenes between parts until none of them lacks much of a class.

Everything is counted in whole numbers and in a fixed order, and the work is limited by a count of operations instead of
a clock, so that every machine ends at the same division.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import isqrt

import numpy as np

UNIT = 1 << 24
"""All pixels of a class, or all images: shares are whole numbers in these units, so that all machines agree."""

ENOUGH = UNIT // 20
"""Nothing is exchanged where every part has 95 % of its due of every class."""

WIDTH = 128
"""Most scenes of a part that are tried at a time; of more, and of many classes, fewer from first to last."""

WORK = 200_000_000
"""Most numbers that are compared: a few seconds."""

AT_ONCE = 1_000_000
"""Most numbers in one array: a few times 8 MB."""

Measure = tuple[int, int]
"""The largest relative shortfall of a class in a part, and the sum of all, in :data:`UNIT`; lower is better."""


@dataclass(frozen=True, eq=False)
class Pool:
    """What is divided.

    Attributes:
        shares: G×K int64, each scene's share of every class's pixels, in :data:`UNIT`.
        sizes: G int64, images of each scene.
        wanted: P int64, share of every part in :data:`UNIT`.
        quotas: P int64, images of every part.
    """

    shares: np.ndarray
    sizes: np.ndarray
    wanted: np.ndarray
    quotas: np.ndarray

    def measure(self, chosen: np.ndarray) -> Measure:
        """How far the division ``chosen`` (G part numbers) falls short of every part's due of every class.

        A class in fewer scenes than there are parts is missing somewhere in any case, and counts in the sum alone.
        """
        return self.measure_of(self.missing(self.filled(self.shares, chosen), self.wanted))

    def measure_of(self, missing: np.ndarray) -> Measure:
        """As :meth:`measure`, from what each part lacks (P×K)."""
        return int(missing[:, self.avoidable].max(initial=0)), int(missing.sum())

    @cached_property
    def avoidable(self) -> np.ndarray:
        """K bool: classes that every part could have."""
        return np.count_nonzero(self.shares, axis=0) >= len(self.wanted)

    @cached_property
    def shown(self) -> np.ndarray:
        """K bool: classes that any scene has."""
        return np.count_nonzero(self.shares, axis=0) > 0

    def filled(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """P×…: the sum of ``values`` (G×…) over every part."""
        return np.stack([values[chosen == part].sum(axis=0) for part in range(len(self.wanted))])

    def missing(self, filled: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """…×K: what each class lacks, relative to what is wanted (…), in :data:`UNIT`; 0 of classes that nobody has."""
        short = np.maximum(wanted[..., None] - filled, 0) * UNIT // np.maximum(wanted, 1)[..., None]
        return short * self.shown

    def tolerance(self, chosen: np.ndarray) -> np.ndarray:
        """P: how far each part's size may be from its quota: as ``chosen``, half a scene, or less of small parts."""
        half = int(self.sizes.max()) // 2
        return np.maximum(
            np.abs(self.filled(self.sizes, chosen) - self.quotas),
            np.minimum(self.quotas // 5, half),
        )


def improve(pool: Pool, chosen: np.ndarray) -> np.ndarray:
    """Moves a scene, or exchanges two, as long as that lowers :meth:`Pool.measure`; the best such step first.

    No part becomes empty, or strays farther from its quota than :meth:`Pool.tolerance` allows.

    Args:
        chosen: G int64, each scene's part.
    """
    if not pool.shown.any():
        return chosen
    search, left = _Search(pool, chosen), WORK
    while search.measure[0] > ENOUGH and left > 0:
        step, work = search.best_step(left)
        if not step:
            break
        search.take(step)
        left -= work
    return search.chosen


class _Search:
    """A division, and the steps that lead on from it."""

    def __init__(self, pool: Pool, chosen: np.ndarray) -> None:
        self.chosen = chosen.copy()
        self._pool = pool
        self._filled = pool.filled(pool.shares, chosen)
        self._spare = pool.filled(pool.sizes, chosen) - pool.quotas
        self._tolerance = pool.tolerance(chosen)
        self._look()

    def _look(self) -> None:
        self._missing = self._pool.missing(self._filled, self._pool.wanted)
        self.measure = self._pool.measure_of(self._missing)
        largest = np.where(self._pool.avoidable, self._missing, -1)
        self._worst_part, self._worst_class = divmod(int(largest.argmax()), largest.shape[1])

    def take(self, step: list[tuple[int, int]]) -> None:
        """Gives scenes their new parts."""
        for scene, part in step:
            for place, sign in ((int(self.chosen[scene]), -1), (part, 1)):
                self._filled[place] += sign * self._pool.shares[scene]
                self._spare[place] += sign * self._pool.sizes[scene]
            self.chosen[scene] = part
        self._look()

    def best_step(self, left: int) -> tuple[list[tuple[int, int]], int]:
        """(scene, new part) of the step to the lowest measure; and the work that it took to find it, about ``left``.

        What the worst part can do comes first, for nothing else lowers the largest shortfall.
        """
        best, work = self.measure, 0
        step: list[tuple[int, int]] = []
        pairs = list(combinations(range(len(self._pool.wanted)), 2))
        for chosen in (
            [pair for pair in pairs if self._worst_part in pair],
            [pair for pair in pairs if self._worst_part not in pair],
        ):
            for first, second in chosen:
                for leaving, coming in self._candidates(first, second) if work < left else ():
                    work += 2 * len(leaving) * len(self._pool.shown)
                    found, place = self._lowest(first, second, leaving, coming)
                    if found < best:
                        moves = ((int(leaving[place]), second), (int(coming[place]), first))
                        best, step = found, [move for move in moves if move[0] >= 0]
            if step:
                break
        return step, work

    def _candidates(self, first: int, second: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Scenes that go from ``first`` to ``second`` and the other way (-1 = none), as sizes allow; in portions."""
        leaving, coming = (self._members(part) for part in (first, second))
        out, back = (each.ravel() for each in np.meshgrid(leaving, coming, indexing="ij"))
        sizes = np.append(self._pool.sizes, 0)  # of no scene
        growth = sizes[back] - sizes[out]
        fits = np.ones(len(out), bool)
        for part, change in ((first, growth), (second, -growth)):
            fits &= np.abs(self._spare[part] + change) <= self._tolerance[part]
        for scenes, others in ((leaving, back), (coming, out)):
            if len(scenes) == 2:  # the last scene of a part goes only where another takes its place
                fits &= others >= 0
        out, back = out[fits], back[fits]
        portion = max(1, AT_ONCE // len(self._pool.shown))
        for start in range(0, len(out), portion):
            yield out[start : start + portion], back[start : start + portion]

    def _members(self, part: int) -> np.ndarray:
        """Scenes of a part, and none (-1); of very many, some with much and some with little of the worst class."""
        members = np.flatnonzero(self.chosen == part)
        width = min(WIDTH, max(8, isqrt(AT_ONCE // len(self._pool.shown))))
        if len(members) > width:
            order = np.argsort(self._pool.shares[members, self._worst_class], kind="stable")
            members = members[order[np.arange(width) * (len(members) - 1) // (width - 1)]]
        return np.append(members, -1)

    def _lowest(
        self, first: int, second: int, leaving: np.ndarray, coming: np.ndarray
    ) -> tuple[Measure, int]:
        """The lowest measure among N steps between two parts, and its place."""
        growth = self._shares(coming) - self._shares(leaving)
        others = np.ones(len(self._pool.wanted), bool)
        others[[first, second]] = False
        largest = np.full(
            len(leaving), self._missing[others][:, self._pool.avoidable].max(initial=0)
        )
        total = np.full(len(leaving), self._missing[others].sum())
        for part, change in ((first, growth), (second, -growth)):
            missing = self._pool.missing(self._filled[part] + change, self._pool.wanted[part])
            np.maximum(
                largest, missing[:, self._pool.avoidable].max(axis=1, initial=0), out=largest
            )
            total += missing.sum(axis=1)
        place = int(np.lexsort((total, largest))[0])
        return (int(largest[place]), int(total[place])), place

    def _shares(self, scenes: np.ndarray) -> np.ndarray:
        """N×K; 0 of no scene."""
        return np.where(scenes[:, None] < 0, 0, self._pool.shares[scenes])
