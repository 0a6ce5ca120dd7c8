"""What one recipe for all encoders says, beside values that each has chosen.

Scores of tuned runs are never compared with those of others: each difference is between runs of one
kind, and only the order of the encoders is set beside the other order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.stats.seeds import Difference, paired_difference

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class TwoOrders:
    """Who leads with the study's recipe, and who leads when each encoder is tuned.

    Attributes:
        fixed: leads with the study's recipe.
        tuned: leads with chosen values.
        by_fixed: ``fixed`` minus ``tuned`` with the study's recipe, on the report split.
        by_tuned: ``tuned`` minus ``fixed`` with chosen values.
        pairs: of encoders, out of which these two were picked by their scores.
    """

    fixed: str
    tuned: str
    by_fixed: Difference
    by_tuned: Difference
    pairs: int

    @property
    def misleads(self) -> bool:
        """Whether the order is another one."""
        return self.fixed != self.tuned

    @property
    def settled(self) -> bool:
        """Whether the seeds show both differences, corrected for the pairs (Bonferroni)."""
        return max(self.by_fixed.p, self.by_tuned.p) * self.pairs < SIGNIFICANT


def two_orders(tuned: Sequence[RunGroup], untuned: Sequence[RunGroup | None]) -> TwoOrders | None:
    """Return both orders; None where an encoder has no result of either kind.

    Args:
        tuned: the runs of each encoder with chosen values.
        untuned: the runs of each with the study's recipe.
    """
    fixed = [group for group in untuned if group is not None and group.score.n]
    chosen = [group for group in tuned if group.score.n]
    if len(tuned) < 2 or len(fixed) < len(tuned) or len(chosen) < len(tuned):
        return None
    first, second = _leader(fixed), _leader(chosen)
    by_fixed = _difference(fixed, first, second)
    by_tuned = _difference(chosen, second, first)
    return TwoOrders(first, second, by_fixed, by_tuned, math.comb(len(tuned), 2))


def _leader(groups: Sequence[RunGroup]) -> str:
    return max(groups, key=lambda group: group.score.mean).encoder


def _difference(groups: Sequence[RunGroup], first: str, second: str) -> Difference:
    scores = {group.encoder: group.values() for group in groups}
    return paired_difference(scores[first], scores[second])
