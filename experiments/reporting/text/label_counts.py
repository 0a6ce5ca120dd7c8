"""How numbers of labelled images are written, and what lies outside those that were measured."""

import math
from collections.abc import Sequence

from encoder_ablations.experiments.stats.efficiency import Efficiency


def images_text(found: Efficiency, measured: Sequence[int]) -> str:
    """Return a number of images; "fewer than 15" or "not reached with 300" outside the measured."""
    if math.isnan(found.fraction):
        return f"not reached with {measured[-1]}"
    if found.at_most:
        return f"fewer than {measured[0]}"
    return f"{found.fraction:.0f}"


def bounds_text(found: Efficiency) -> str:
    """Return the interval in images, with ends outside what was measured named; "" without one."""
    if math.isnan(found.low):
        return ""
    low, high = f"{found.low:.0f}", f"{found.high:.0f}"
    if found.low_open:
        low = f"fewer than {low}"
    if found.high_open:
        high = f"more than {high}"
    # where all of it lies outside what was measured, the open end says it
    if found.low == found.high:
        return high if found.high_open else low
    return f"{low} to {high}"
