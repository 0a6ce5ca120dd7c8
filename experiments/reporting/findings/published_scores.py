"""A study's scores beside published ones of the same encoder, head, dataset and fraction."""

from collections.abc import Iterable
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.reporting.text import formats


@dataclass(frozen=True)
class Cited:
    """A published score beside the study's, as texts.

    Attributes:
        score: the published score in percent.
        difference: the study's score minus that, in points.
        spread: half the interval of the study's mean; "" below three seeds.
        note: number of the source, from 1 on.
        source: who reports the score.
    """

    score: str
    difference: str
    spread: str
    note: int
    source: str

    @property
    def behind(self) -> str:
        """Return difference and spread: ``−1.2 ± 0.5``."""
        return f"{self.difference} {self.spread}".rstrip()


def citations(groups: Iterable[RunGroup]) -> dict[RunGroup, Cited]:
    """Return the published score of every group that has one and a result.

    Sources are numbered in the order of ``groups``. The published score counts as exact: the
    interval is that of the study's mean.
    """
    found: dict[RunGroup, Cited] = {}
    numbers: dict[str, int] = {}
    for group in groups:
        published, score = group.published, group.score
        if published is None or not score.n:
            continue
        note = numbers.setdefault(published.source, len(numbers) + 1)
        found[group] = Cited(
            score=_as_precise(published.score),
            difference=formats.points(score.mean - published.score / 100),
            spread=formats.half_width(score),
            note=note,
            source=published.source,
        )
    return found


def _as_precise(score: float) -> str:
    """Return a published score with as many decimals as its source gives: one or two."""
    digits = 1 + (round(score, 1) != score)
    return f"{score:.{digits}f}"


def sources(cited: Iterable[Cited]) -> list[str]:
    """Return the sources by number."""
    by_number = {each.note: each.source for each in cited}
    return [by_number[note] for note in sorted(by_number)]
