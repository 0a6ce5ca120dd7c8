"""Whether the ranking would be the same with other seeds, fewer images, another head or dataset."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, combinations
from operator import attrgetter
from typing import NamedTuple

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.stats.ranks import (
    Agreement,
    Scores,
    agreement,
    agreement_of_seeds,
)
from encoder_ablations.experiments.stats.seeds import deviation_interval

STABILITY = ["setting", "rankings compared", "tau", "95 % interval", "encoders", "seeds"]
DEVIATIONS = ["setting", "encoder", "standard deviation (points)", "95 % interval", "n"]
FEWEST = 3
"""Fewest encoders with a tau: of two, it can only be 1 or -1."""
KINDS = {"heads": attrgetter("segmenter"), "datasets": attrgetter("dataset")}
"""What two settings may differ in -> how it is read from a setting."""


class Compared(NamedTuple):
    """Two rankings and their agreement, None with fewer than two encoders."""

    setting: str
    what: str
    found: Agreement | None


def stability_table(study: Study) -> Table:
    """Return Kendall's tau between rankings by other seeds, fractions, heads and datasets."""
    within = chain.from_iterable(map(_within, study.settings))
    rows = [
        _row(setting, what, found)
        for setting, what, found in chain(within, _between(study))
        if found is not None and found.encoders >= FEWEST
    ]
    caption = "Kendall's tau of rankings: 1 the same, 0 unrelated, -1 reversed."
    return Table(caption, STABILITY, rows, names=2)


def across(table: Table) -> Table:
    """Return the rows of a stability table that compare two settings."""
    return replace(table, rows=[row for row in table.rows if " / " in row[0]])


def _within(setting: Setting) -> Iterator[Compared]:
    """Compare rankings of one setting, by single seeds and by other shares of the images."""
    reference, share = _at_reference(setting), formats.fraction(setting.reference)
    yield Compared(setting.title, f"two single seeds, at {share}", agreement_of_seeds(reference))
    others = [fraction for fraction in setting.fractions if fraction != setting.reference]
    for fraction in reversed(others):
        what = f"{share} and {formats.fraction(fraction)} of the images"
        yield Compared(setting.title, what, agreement(reference, _scores(setting, fraction)))


def _between(study: Study) -> Iterator[Compared]:
    """Compare the rankings of settings that differ in the head alone, or in the dataset alone."""
    for first, second in combinations(study.settings, 2):
        # with both different, nobody could say which of the two changed the ranking
        differing = [kind for kind, read in KINDS.items() if read(first) != read(second)]
        if len(differing) == 1:
            (kind,) = differing
            what = f"{kind} {KINDS[kind](first)} and {KINDS[kind](second)}"
            found = agreement(_at_reference(first), _at_reference(second))
            yield Compared(f"{first.title} / {second.title}", what, found)


def _scores(setting: Setting, fraction: float) -> Scores:
    return {group.encoder: group.values() for group in setting.scored_at(fraction)}


def _at_reference(setting: Setting) -> Scores:
    return _scores(setting, setting.reference)


def _row(setting: str, what: str, found: Agreement) -> list[str]:
    interval = _to(found.low, found.high)
    return [setting, what, _number(found.tau), interval, str(found.encoders), str(found.seeds)]


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _to(low: float, high: float) -> str:
    """Return both ends of an interval; "" for NaN."""
    if math.isnan(low):
        return ""
    return f"{_number(low)} to {_number(high)}"


def deviations_table(study: Study) -> Table:
    """Return the standard deviation of scores between seeds, at the reference fractions."""
    rows = list(chain.from_iterable(map(_deviation_rows, study.settings)))
    caption = f"How much the {study.metric.label} of single seeds varies."
    return Table(caption, DEVIATIONS, rows, names=2)


def _deviation_rows(setting: Setting) -> Iterator[list[str]]:
    for standing in ranking(setting, setting.reference).standings:
        values = [100 * value for value in standing.group.values().values()]
        if len(values) > 1:
            deviation = formats.percent(standing.score.std, 2)
            interval = _to(*deviation_interval(values))
            yield [setting.title, standing.encoder, deviation, interval, str(len(values))]
