"""Whether the ranking would be the same with other seeds, fewer images, another head or dataset."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.ranking import standings
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.stats.ranks import (
    Agreement,
    Scores,
    agreement,
    agreement_of_seeds,
)
from encoder_ablations.experiments.stats.seeds import deviation_interval

HEADER = ["setting", "rankings compared", "tau", "95 % interval", "encoders", "seeds"]


def stability_table(study: Study) -> Table:
    """Return Kendall's tau between rankings by other seeds, fractions, heads and datasets."""
    rows = []
    for setting in study.settings:
        reference = _scores(setting, setting.reference)
        if setting.reference is None:
            continue
        share = formats.fraction(setting.reference)
        rows += _row(setting.title, f"two single seeds, at {share}", agreement_of_seeds(reference))
        for fraction in reversed(setting.fractions):
            if fraction != setting.reference:
                what = f"{share} and {formats.fraction(fraction)} of the images"
                rows += _row(setting.title, what, agreement(reference, _scores(setting, fraction)))
    for first, second, what in _neighbours(study):
        found = agreement(_scores(first, first.reference), _scores(second, second.reference))
        rows += _row(f"{first.title} / {second.title}", what, found)
    caption = "Kendall's tau of rankings: 1 the same, 0 unrelated, -1 reversed."
    return Table(caption, HEADER, rows, names=2)


def across(table: Table) -> Table:
    """Return the rows of a stability table that compare two settings."""
    return replace(table, rows=[row for row in table.rows if " / " in row[0]])


def _scores(setting: Setting, fraction: float | None) -> Scores:
    return {group.encoder: group.values() for group in setting.at(fraction) if group.values()}


def _neighbours(study: Study) -> Iterator[tuple[Setting, Setting, str]]:
    """Settings that differ in the head alone, or in the dataset alone."""
    for first, second in combinations(study.settings, 2):
        if first.dataset == second.dataset and first.segmenter != second.segmenter:
            yield first, second, f"heads {first.segmenter} and {second.segmenter}"
        elif first.segmenter == second.segmenter and first.dataset != second.dataset:
            yield first, second, f"datasets {first.dataset} and {second.dataset}"


def _row(setting: str, what: str, found: Agreement | None) -> list[list[str]]:
    if found is None:
        return []
    bounds = ""
    if found.low is not None and found.high is not None:
        bounds = f"{_tau(found.low)} to {_tau(found.high)}"
    return [[setting, what, _tau(found.tau), bounds, str(found.encoders), str(found.seeds)]]


def _tau(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def deviations_table(study: Study) -> Table:
    """Return the standard deviation of mIoU between seeds, at each setting's reference fraction."""
    rows = []
    for setting in study.settings:
        for standing in standings(setting, setting.reference):
            values = list(standing.group.values().values())
            if standing.miou.std is not None:
                bounds = deviation_interval(values)
                text = "" if bounds is None else f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"
                deviation = f"{100 * standing.miou.std:.2f}"
                rows.append([setting.title, standing.encoder, deviation, text, str(len(values))])
    header = ["setting", "encoder", "standard deviation (points)", "95 % interval", "n"]
    return Table("How much the mIoU of single seeds varies.", header, rows, names=2)
