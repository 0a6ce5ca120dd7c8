"""Two studies side by side, as a table and sentences, in the terminal and as a page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.experiments.reporting.comparing.arms import Pair, Place, shared_arms
from encoder_ablations.experiments.reporting.comparing.differences import Difference, difference_of
from encoder_ablations.experiments.reporting.comparing.settings import (
    data_lines,
    setting_lines,
    version_lines,
)
from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.utils.pages.html_page import render_page
from encoder_ablations.utils.texts import plural

TEMPLATE = Path(__file__).parent / "comparison.html"
LISTED = 20
"""How many lines of a kind are shown."""
NOTE = (
    "Difference: second minus first, in points. Intervals of 95 % are of single arms; they are not "
    "corrected for the number of arms."
)


@dataclass(frozen=True)
class Comparison:
    """Two studies side by side.

    Attributes:
        titles: a line for each study.
        table: a row for every shared arm.
        parts: a heading -> lines.
        problems: what was left out, one line each.
    """

    titles: list[str]
    table: Table
    parts: dict[str, list[str]]
    problems: list[str]

    def text(self) -> str:
        """Return it for the terminal."""
        lines = [*self.titles, "", *_aligned(self.table), "", NOTE]
        for heading, found in self.parts.items():
            lines += ["", f"{heading}:", *(f"  {line}" for line in found)]
        return "\n".join(lines)

    def page(self) -> str:
        """Return it as an HTML page that needs no other file."""
        return render_page(TEMPLATE, comparison=self, note=NOTE)


def compare(first: Study, second: Study) -> Comparison:
    """Return two studies side by side.

    Raises:
        InputError: they share no arm, or the numbers of none may be compared.
    """
    shared = shared_arms(first, second)
    comparable = [pair for pair in shared.pairs if pair.problem is None]
    before, after = Resampling(first), Resampling(second)
    rows = [_row(pair, difference_of(pair, before, after)) for pair in comparable]
    metric = first.metric.label
    header = ["arm", f"first, {metric} %", f"second, {metric} %", "difference", "95 % interval"]
    titles = [f"first: {first.folder}", f"second: {second.folder}"]
    table = Table(f"{first.name} and {second.name}", [*header, "how"], rows)
    parts = {
        "settings that differ in shared arms": setting_lines(comparable),
        "data": data_lines(comparable),
        "versions and machines": version_lines(comparable),
        "only in the first": _titles(shared.only_first),
        "only in the second": _titles(shared.only_second),
    }
    kept = {heading: _cut(lines) for heading, lines in parts.items() if lines}
    problems = [f"{pair.place.title}: {pair.problem}" for pair in shared.pairs if pair.problem]
    problems += [f"{place.title}: several arms of one study" for place in shared.ambiguous]
    problems += [*first.damaged, *second.damaged, *before.problems, *after.problems]
    return Comparison(titles, table, kept, problems)


def _titles(places: Sequence[Place]) -> list[str]:
    return [place.title for place in places]


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= LISTED:
        return lines
    return [*lines[:LISTED], f"… and {plural(len(lines) - LISTED, 'more line')}"]


def _row(pair: Pair, difference: Difference) -> list[str]:
    interval = formats.DASH
    if not math.isnan(difference.low):
        interval = formats.interval(difference.low, difference.high)
    scores = [_score(pair.first), _score(pair.second)]
    return [pair.place.title, *scores, formats.points(difference.mean), interval, difference.kind]


def _score(group: RunGroup) -> str:
    """Return the mean of all seeds of an arm, and how many they are."""
    if group.without_labels:
        return group.score.text()
    return f"{group.score.text()}, {plural(group.score.n, 'seed')}"


def _aligned(table: Table) -> list[str]:
    columns = list(zip(*table.cells(), strict=True))
    widths = [max(map(len, column)) for column in columns]
    rows = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table.cells()]
    return [f"  {row}" for row in rows]
