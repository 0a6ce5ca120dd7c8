"""Two ways of computing the same thing, timed in turn: the ratio holds when the machine's speed
drifts."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Milliseconds (median) of both, and the median of the pairwise ratios ours / theirs with
    its 10-90 % range."""

    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    pairs: int

    def line(self, name: str, target: str) -> str:
        """One row of the benchmark's table."""
        return (
            f"{name:<58}{self.ours:9.1f}{self.theirs:11.1f}{self.ratio:8.2f}  "
            f"({self.low:.2f}–{self.high:.2f}, n={self.pairs})  {target}"
        )


WARM_UP, PAIRS = 2, 5
"""Calls of each before anything is timed, and the fewest that are timed."""
_TITLE = "medians; the ratio is the median over pairs timed in turn"
HEADER = f"{_TITLE:<58}{'ours ms':>9}{'theirs ms':>11}{'ratio':>8}"


def compare(ours: Callable[[], object], theirs: Callable[[], object], seconds: float) -> Timing:
    """Calls both in turn for about ``seconds`` (at least ``PAIRS``) after ``WARM_UP`` calls of
    each."""
    times: list[tuple[float, float]] = []
    for _ in range(WARM_UP):
        ours()
        theirs()
    begin = time.perf_counter()
    while len(times) < PAIRS or time.perf_counter() - begin < seconds:
        times.append((_milliseconds(ours), _milliseconds(theirs)))
    both = np.array(times)
    ratios = both[:, 0] / both[:, 1]
    low, ratio, high = np.percentile(ratios, [10, 50, 90])
    first, second = np.median(both, axis=0)
    return Timing(float(first), float(second), float(ratio), float(low), float(high), len(times))


def _milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - begin)
