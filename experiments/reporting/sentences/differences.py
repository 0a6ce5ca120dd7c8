"""How sure a difference is: the end of a sentence that tells it."""

from encoder_ablations.experiments.reporting.findings.ranking import Comparison
from encoder_ablations.experiments.reporting.text import formats


def with_certainty(told: str, pair: Comparison) -> str:
    """Return a sentence on a difference with its interval, or with the reason why it has none.

    Args:
        told: the sentence so far, without a full stop.
        pair: the difference; its p is corrected for the number of comparisons.
    """
    if not pair.tested:
        return f"{told} in this small sample; {formats.no_more(pair.seeds)}."
    interval = f"95 % interval {formats.bounds(pair.difference.over)}"
    if pair.holds:
        return f"{told} ({interval})."
    return f"{told} ({interval}); corrected for the number of comparisons, this could be chance."
