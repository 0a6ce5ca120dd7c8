"""The largest batch that fits into a GPU's memory: the search."""

from collections.abc import Callable

MOST = 1024
"""Larger batches are not tried: their images take longer to load than the answer is worth."""


def bisect(fits: Callable[[int], bool], step: int = 1, most: int = MOST) -> int:
    """Return the largest multiple of ``step`` that fits, up to ``most``; 0 if none does.

    Args:
        fits: whether a number fits; if it does, so do all smaller ones.
        step: 1 or more.
        most: where the search ends.
    """
    good, trial = 0, 1
    # doubling finds the first that does not fit, or the end
    while trial * step <= most and fits(trial * step):
        good, trial = trial, 2 * trial
    bad = min(trial, most // step + 1)
    # halving finds the last that fits, between the two
    while bad - good > 1:
        trial = (good + bad) // 2
        if fits(trial * step):
            good = trial
        else:
            bad = trial
    return good * step
