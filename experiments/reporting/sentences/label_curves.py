"""How many labels it takes to reach what was reached without any, in words."""

import math

from encoder_ablations.experiments.reporting.findings.labels.label_curves import (
    Arm,
    LabelCurves,
    Needed,
)
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.label_counts import bounds_text
from encoder_ablations.experiments.stats.efficiency import Efficiency
from encoder_ablations.experiments.stats.seeds import ENOUGH

OVER = {True: "95 % interval over seeds and test images", False: "95 % interval over seeds alone"}
"""Whether the choice of test images is covered -> what the interval is over."""


def label_sentences(curves: LabelCurves) -> list[str]:
    """Return the score of every arm without labels, and what the labelled ones need to reach it."""
    found = []
    for without in curves.without:
        score = f"{formats.percent(without.largest.score.mean)} % {curves.metric}"
        bounds = list(filter(None, map(formats.percent, curves.intervals[without.title])))
        if bounds:
            score += f" (95 % interval over test images {' to '.join(bounds)})"
        found.append(f"Without labels, {without.title} reaches {score}.")
        found += [_sentence(needed) for needed in curves.needed if needed.without is without]
    return found


def _sentence(needed: Needed) -> str:
    """Return the sentence about one labelled arm."""
    found = needed.found
    told = f"{needed.labelled.title} {_reached(found, needed.labelled)}"
    if found.n < ENOUGH:
        return f"{told} ({_seeds(found.n)}: a single estimate, without an interval)."
    return f"{told} ({OVER[needed.with_images]}: {bounds_text(found)})."


def _seeds(count: int) -> str:
    return {1: "one seed", 2: "two seeds"}[count]


def _reached(found: Efficiency, arm: Arm) -> str:
    """Return from how many labelled images on an arm reaches the score."""
    smallest, largest = arm.images[0], arm.images[-1]
    if math.isnan(found.fraction):
        return f"does not reach that with all {largest} labelled images that were tried"
    if found.at_most:
        return f"reaches that with fewer than the {smallest} images of the smallest fraction"
    return f"reaches that from {found.fraction:.0f} labelled images on"
