"""Share of the images with which one encoder scores what another does."""

import math
from itertools import compress

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.stats.efficiency import Efficiency, label_efficiency

BELOW = {False: "", True: "below "}
MORE_THAN = {False: "", True: "more than "}
AT_MOST = {False: "", True: "at most "}
"""Whether an end is open, or the share an upper bound -> the words before the number."""


def efficiency(setting: Setting, strong: str, weak: str) -> tuple[float, Efficiency] | None:
    """Return how many images ``strong`` needs to score as much as ``weak``.

    Returns:
        The largest share of the images at which ``weak`` has a result, and the share with which
        ``strong`` scores as much; None where the curves do not tell.
    """
    needed, given = _curve(setting, strong), _curve(setting, weak)
    # one point is no curve; the target is what the weak encoder has with most images
    if len(needed) < 2 or not given:
        return None
    largest = max(given)
    found = label_efficiency(needed, given[largest])
    if found is None:
        return None
    return largest, found


def _curve(setting: Setting, encoder: str) -> dict[float, dict[int, float]]:
    """Return share of the images -> seed -> score."""
    groups = [group for group in setting.scored if group.encoder == encoder]
    return {group.fraction: group.values() for group in groups}


def efficiency_texts(found: Efficiency) -> list[str]:
    """Return share, interval and seeds: ``["12.3", "9.8 to 17.1", "5"]``; open ends are named."""
    return [_reached(found), interval_text(found), str(found.n)]


def _reached(found: Efficiency) -> str:
    if math.isnan(found.fraction):
        return "never"
    return AT_MOST[found.at_most] + _share(found.fraction)


def interval_text(found: Efficiency) -> str:
    """Return the interval in percent of the images; "" below three seeds."""
    if math.isnan(found.low):
        return ""
    # bounds lie outside what was measured where an end is open
    low = BELOW[found.low_open] + _share(found.low)
    high = MORE_THAN[found.high_open] + _share(found.high)
    # where all of the interval lies outside, one end says it
    open_ends = list(compress((low, high), (found.low_open, found.high_open)))
    if found.low == found.high and open_ends:
        return open_ends[0]
    return f"{low} to {high}"


def _share(fraction: float) -> str:
    return f"{100 * fraction:.3g}"
