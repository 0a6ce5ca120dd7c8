"""Whether the ranking would be the same with other seeds, fewer images, another head or dataset."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from encoder_ablations.experiments.reporting.findings.collection import Setting, Study
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
    """Kendall's tau between the rankings of every setting: seeds, fractions, heads, datasets."""
    rows = []
    for setting in study.settings:
        reference = _scores(setting, setting.reference)
        where = f"at {formats.fraction(setting.reference)}" if setting.reference else ""
        rows += _row(setting.title, f"two single seeds, {where}", agreement_of_seeds(reference))
        for fraction in reversed(setting.fractions):
            if fraction != setting.reference and setting.reference:
                what = f"{formats.fraction(setting.reference)} and {formats.fraction(fraction)} of the images"
                rows += _row(setting.title, what, agreement(reference, _scores(setting, fraction)))
    for first, second, what in _neighbours(study):
        found = agreement(_scores(first, first.reference), _scores(second, second.reference))
        rows += _row(f"{first.title} / {second.title}", what, found)
    return Table(
        "Kendall's tau of rankings: 1 the same, 0 unrelated, -1 reversed.", HEADER, rows, names=2
    )


def across(table: Table) -> Table:
    """The rows of a stability table that belong to two settings."""
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
    bounds = (
        ""
        if found.low is None or found.high is None
        else f"{_tau(found.low)} to {_tau(found.high)}"
    )
    return [[setting, what, _tau(found.tau), bounds, str(found.encoders), str(found.seeds)]]


def _tau(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def deviations_table(study: Study) -> Table:
    """Standard deviation of mIoU between the seeds of every encoder, at each setting's reference fraction."""
    rows = []
    for setting in study.settings:
        for standing in standings(setting, setting.reference):
            group = standing.group
            if group.score.std is not None:
                bounds = deviation_interval(list(group.values().values()))
                text = "" if bounds is None else f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"
                rows.append(
                    [
                        setting.title,
                        group.encoder,
                        f"{100 * group.score.std:.2f}",
                        text,
                        str(group.score.n),
                    ]
                )
    header = ["setting", "encoder", "standard deviation (points)", "95 % interval", "n"]
    return Table("How much the mIoU of single seeds varies.", header, rows, names=2)
