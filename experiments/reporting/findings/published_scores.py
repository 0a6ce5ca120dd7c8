"""Our scores beside published ones of the same encoder, head, dataset and share of the images."""

from collections.abc import Iterable
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.collection import RunGroup
from encoder_ablations.experiments.reporting.text import formats


@dataclass(frozen=True)
class Cited:
    """Texts: the published score in percent, ours minus that in points with its interval; ``note``: 1, 2, …"""

    score: str
    difference: str
    spread: str
    note: int
    source: str

    @property
    def behind(self) -> str:
        """``−1.2 ± 0.5``."""
        return f"{self.difference} {self.spread}".rstrip()


def citations(groups: Iterable[RunGroup]) -> dict[RunGroup, Cited]:
    """For each group with a result and a published score; sources are numbered in the order of ``groups``.

    The published score counts as exact: the interval is that of our mean.
    """
    found: dict[RunGroup, Cited] = {}
    numbers: dict[str, int] = {}
    for group in groups:
        published, ours = group.published, group.score
        if published is None or ours.mean is None:
            continue
        note = numbers.setdefault(published.source, len(numbers) + 1)
        spread = "" if ours.half_width is None else f"± {100 * ours.half_width:.1f}"
        difference = formats.points(ours.mean - published.miou / 100)
        score = f"{published.miou:.{1 if round(published.miou, 1) == published.miou else 2}f}"
        found[group] = Cited(score, difference, spread, note, published.source)
    return found


def sources(cited: Iterable[Cited]) -> list[str]:
    """Who is cited, by number."""
    return [source for _, source in sorted({(each.note, each.source) for each in cited})]
