"""The answer for heads that need no labels: one run each, so that only the images are a sample."""

import math

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.image_intervals import Interval, Resampling
from encoder_ablations.experiments.reporting.findings.ranking import Ranking, Standing
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.utils.texts import plural


def headline(ranked: Ranking, resampling: Resampling) -> str:
    """Return which encoder is ahead, and whether the test images show it."""
    first, *others = ranked.standings
    metric = first.group.metric.label
    if not others:
        score = formats.percent(first.score.mean)
        return f"{first.encoder} reaches {score} % {metric} without labels."
    second = others[0]
    low, high = resampling.difference(first.group, second.group)
    lead = f"{formats.bare(first.score.mean - second.score.mean)} points ahead of {second.encoder}"
    if math.isnan(low):
        return f"{first.encoder} is {lead}; the test images are too few for an interval."
    bounds = f"95 % interval over test images {formats.interval(low, high)}"
    if low > 0:
        return f"{first.encoder} is best without labels, {lead} ({bounds})."
    return f"{first.encoder} is {lead}, but the test images do not separate the two ({bounds})."


def scores(ranked: Ranking, resampling: Resampling) -> list[str]:
    """Return the score of each encoder and its interval over test images."""
    return [_score(standing, resampling.interval(standing.group)) for standing in ranked.standings]


def _score(standing: Standing, interval: Interval) -> str:
    metric = standing.group.metric.label
    told = f"{standing.encoder} scores {formats.percent(standing.score.mean)} % {metric}"
    low, high = map(formats.percent, interval)
    if not low:
        return f"{told}."
    return f"{told} (95 % interval over test images {low} to {high})."


def certainty(setting: Setting) -> list[str]:
    """Return what the intervals are over, and how many runs failed."""
    found = [
        "The head needs no labels and is not trained. Every encoder has one run, and nothing in it "
        "is random: intervals are over test images, not over seeds."
    ]
    failed = sum(len(group.failed) for group in setting.groups)
    if failed:
        found.append(plural(failed, "run", "failed and is/are not in the numbers."))
    return found
