"""Improving a division: scenes are exchanged between parts until none lacks much of a class.

Everything is counted in whole numbers and in a fixed order, and the work is limited by a count of
operations instead of a clock, so that every machine ends at the same division.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import isqrt

import numpy as np

UNIT = 1 << 24
"""All pixels of a class, or all images: the unit of shares, which are whole numbers."""

ENOUGH = UNIT // 20
"""Nothing is exchanged where every part has 95 % of what it should have of every class."""

WIDTH = 128
"""Largest number of a part's scenes that are tried at a time; fewer where classes are many."""

WORK = 200_000_000
"""Largest number of numbers that are compared: a few seconds."""

AT_ONCE = 1_000_000
"""Largest number of numbers in one array: a few times 8 MB."""

Measure = tuple[int, int]
"""(largest relative shortfall of a class in a part, sum of all), in :data:`UNIT`.

Lower is better.
"""
Move = tuple[int, int]
"""(scene, its new part)."""


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
        """Return how far a division falls short of what parts should have of every class.

        A class in fewer scenes than there are parts is missing somewhere in any case, and counts in
        the sum alone.

        Args:
            chosen: G part numbers.
        """
        return self.measure_of(self.missing(self.filled(self.shares, chosen), self.wanted))

    def measure_of(self, missing: np.ndarray) -> Measure:
        """Return the measure of what each part lacks (P×K)."""
        return int(missing[:, self.avoidable].max(initial=0)), int(missing.sum())

    @cached_property
    def avoidable(self) -> np.ndarray:
        """K bool: classes that every part could have."""
        scenes = np.asarray(np.count_nonzero(self.shares, axis=0))
        return scenes >= len(self.wanted)

    @cached_property
    def shown(self) -> np.ndarray:
        """K bool: classes that any scene has."""
        shown: np.ndarray = np.any(self.shares, axis=0)
        return shown

    def filled(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return P×…: the sum of ``values`` (G×…) over every part."""
        sums = np.zeros((len(self.wanted), *values.shape[1:]), np.int64)
        np.add.at(sums, chosen, values)
        return sums

    def missing(self, filled: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Return …×K: what each class lacks, relative to what is wanted (…), in :data:`UNIT`.

        Classes that no scene has lack nothing.
        """
        short = np.maximum(wanted[..., None] - filled, 0) * UNIT
        return np.where(self.shown, short // np.maximum(wanted, 1)[..., None], 0)

    def tolerance(self, chosen: np.ndarray) -> np.ndarray:
        """Return P: how far each part's size may be from its quota.

        This is as far as in ``chosen``, or half a scene but at most a fifth of the part.
        """
        half = int(self.sizes.max()) // 2
        distance = np.abs(self.filled(self.sizes, chosen) - self.quotas)
        tolerance: np.ndarray = np.maximum(distance, np.minimum(self.quotas // 5, half))
        return tolerance


def improve(pool: Pool, chosen: np.ndarray) -> np.ndarray:
    """Return a division that lacks less, by moving scenes or exchanging two, the best step first.

    Steps go on as long as they lower :meth:`Pool.measure`. No part becomes empty, or strays farther
    from its quota than :meth:`Pool.tolerance` allows.

    Args:
        pool: what is divided.
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

    def take(self, step: list[Move]) -> None:
        """Give scenes their new parts."""
        for scene, part in step:
            for place, sign in ((int(self.chosen[scene]), -1), (part, 1)):
                self._filled[place] += sign * self._pool.shares[scene]
                self._spare[place] += sign * self._pool.sizes[scene]
            self.chosen[scene] = part
        self._look()

    def best_step(self, left: int) -> tuple[list[Move], int]:
        """Return the step to the lowest measure, and the work that it took to find it.

        Steps of the worst part are tried first, for nothing else lowers the largest shortfall.

        Args:
            left: no new steps are tried after this much work.
        """
        step: list[Move] = []
        work = 0
        pairs = list(combinations(range(len(self._pool.wanted)), 2))
        of_worst = [pair for pair in pairs if self._worst_part in pair]
        others = [pair for pair in pairs if self._worst_part not in pair]
        for tried in (of_worst, others):
            step, done = self._best_among(tried, left - work)
            work += done
            if step:
                break
        return step, work

    def _best_among(self, pairs: list[tuple[int, int]], left: int) -> tuple[list[Move], int]:
        """Return the best step between any two of these parts, and the work."""
        best, work = self.measure, 0
        step: list[Move] = []
        for first, second in pairs:
            if work >= left:
                break
            for leaving, coming in self._candidates(first, second):
                work += 2 * len(leaving) * len(self._pool.shown)
                found, place = self._lowest(first, second, leaving, coming)
                if found < best:
                    best = found
                    moves = ((int(leaving[place]), second), (int(coming[place]), first))
                    step = [move for move in moves if move[0] >= 0]
        return step, work

    def _candidates(self, first: int, second: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield scenes that may go from ``first`` to ``second`` and back, in portions.

        Both are N scene numbers, -1 for no scene.
        """
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
        """Return the scenes of a part, and -1 for no scene.

        Where they are very many, some with much and some with little of the worst class are taken.
        """
        members = np.flatnonzero(self.chosen == part)
        width = min(WIDTH, max(8, isqrt(AT_ONCE // len(self._pool.shown))))
        if len(members) > width:
            order = np.argsort(self._pool.shares[members, self._worst_class], kind="stable")
            members = members[order[np.arange(width) * (len(members) - 1) // (width - 1)]]
        return np.append(members, -1)

    def _lowest(
        self, first: int, second: int, leaving: np.ndarray, coming: np.ndarray
    ) -> tuple[Measure, int]:
        """Return the lowest measure among N steps between two parts, and its place."""
        growth = self._shares(coming) - self._shares(leaving)
        # what the other parts lack stays the same
        others = np.delete(self._missing, [first, second], axis=0)
        largest, total = (np.full(len(leaving), each) for each in self._pool.measure_of(others))
        for part, change in ((first, growth), (second, -growth)):
            missing = self._pool.missing(self._filled[part] + change, self._pool.wanted[part])
            worst = missing[:, self._pool.avoidable].max(axis=1, initial=0)
            largest = np.maximum(largest, worst)
            total += missing.sum(axis=1)
        place = int(np.lexsort((total, largest))[0])
        return (int(largest[place]), int(total[place])), place

    def _shares(self, scenes: np.ndarray) -> np.ndarray:
        """Return N×K shares; 0 for no scene."""
        return np.where(scenes[:, None] < 0, 0, self._pool.shares[scenes])
