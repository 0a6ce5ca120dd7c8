"""How many seeds a study needs to show differences between its encoders."""

from collections.abc import Sequence
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.stats.power import (
    MOST_SEEDS,
    Spread,
    difference_shown,
    power,
    seeds_needed,
    spread_of,
)
from encoder_ablations.utils.texts import plural

DIFFERENCES = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Points between two encoders that the table shows."""
CURVE_SEEDS = range(3, 31)
"""Numbers of seeds that the figure shows."""


@dataclass(frozen=True)
class PowerPlan:
    """What some seeds can show, for encoders that are compared with each other.

    Attributes:
        title: what they have in common, or where the spread comes from.
        spread: of differences between two encoders, in points.
        comparisons: pairs of encoders that are tested together.
    """

    title: str
    spread: Spread
    comparisons: int

    def seeds(self, difference: float) -> tuple[int | None, int | None, int | None]:
        """Return the seeds for 80 % power, by the spread and the ends of its interval.

        None means more than 1,000; without an interval all three are equal.
        """
        spread = self.spread
        low, high = spread.low, spread.high
        if not spread.measured:
            low = high = spread.std
        needed, least, most = (
            seeds_needed(difference, std, self.comparisons) for std in (spread.std, low, high)
        )
        return needed, least, most

    def shown(self) -> list[float]:
        """Return the smallest difference in points that each of ``CURVE_SEEDS`` shows."""
        std, comparisons = self.spread.std, self.comparisons
        return [difference_shown(std, seeds, comparisons) for seeds in CURVE_SEEDS]

    def power(self, difference: float, seeds: int) -> float:
        """Return how often so many seeds show a difference in points, 0..1."""
        return power(difference, self.spread.std, seeds, self.comparisons)


def pilot_plans(settings: Sequence[Setting]) -> list[PowerPlan]:
    """Return a plan for every setting and fraction in which two encoders share two seeds."""
    found = []
    for setting in settings:
        for fraction in setting.fractions:
            groups = setting.scored_at(fraction)
            spread = spread_of({group.encoder: _points(group.values()) for group in groups})
            # differences that are equal but for rounding tell nothing about others
            if spread is None or spread.std <= 1e-9:
                continue
            pairs = len(groups) * (len(groups) - 1) // 2
            title = f"{setting.title}, {100 * fraction:g} % of the images"
            found.append(PowerPlan(title, spread, pairs))
    return found


def _points(values: dict[int, float]) -> dict[int, float]:
    return {seed: 100 * value for seed, value in values.items()}


def power_lines(plan: PowerPlan) -> list[str]:
    """Return the table of a plan: seeds that show a difference with 80 % power."""
    spread = plan.spread
    about = f"spread {spread.std:.2g} points"
    if spread.measured:
        about += f" (95 % interval {spread.low:.2g} to {spread.high:.2g})"
    lines = [f"{plan.title}: {about}, {plural(plan.comparisons, 'comparison')}"]
    lines.append("  points between two encoders   seeds for 80 % power")
    for difference in DIFFERENCES:
        needed, least, most = map(_count, plan.seeds(difference))
        ends = f" ({least} to {most})"
        if least == most:
            ends = ""
        lines.append(f"  {difference:<29g} {needed}{ends}")
    return lines


def _count(seeds: int | None) -> str:
    if seeds is None:
        return f"> {MOST_SEEDS}"
    return str(seeds)
