"""Which pretraining knows what it does not know: calibration and uncertainty of every encoder."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from encoder_ablations.experiments.confidence.record import ConfidenceRecord
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting, best_first
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import canonical
from encoder_ablations.experiments.stats.seeds import summarize
from encoder_ablations.utils.texts import plural

Reading = Callable[[ConfidenceRecord], float | None]
"""Reads a number from a record."""
HEADER = [
    "setting",
    "encoder",
    "fraction (%)",
    "ECE (%)",
    "ECE with temperature (%)",
    "temperature",
    "NLL",
    "NLL with temperature",
    "AURC (%)",
    "ideal AURC (%)",
    "error (%)",
    "image rank correlation",
    "n",
]
NUMBERS: Sequence[tuple[Reading, float, int]] = (
    (lambda record: record.before.ece, 100, 1),
    (lambda record: record.after.ece, 100, 1),
    (lambda record: record.temperature, 1, 2),
    (lambda record: record.before.nll, 1, 3),
    (lambda record: record.after.nll, 1, 3),
    (lambda record: record.entropy.aurc, 100, 2),
    (lambda record: record.entropy.ideal_aurc, 100, 2),
    (lambda record: record.entropy.error, 100, 1),
    (lambda record: record.entropy.spearman, 1, 2),
)
"""What each column reads, its factor and its decimals."""


@dataclass(frozen=True)
class Confidence:
    """What is known of a setting's encoders at its reference fraction.

    Attributes:
        records: encoder -> records of its seeds, as the ranking sorts encoders.
        ensembles: encoder -> the record of its seeds together.
        split: whose images were evaluated.
        notes: what a reader must know.
    """

    records: Mapping[str, list[ConfidenceRecord]]
    ensembles: Mapping[str, ConfidenceRecord]
    split: str
    notes: list[str]


def confidence_of(study: Study, setting: Setting) -> Confidence | None:
    """Return what the records of a setting's runs say; None without any."""
    groups = sorted(setting.scored_at(setting.reference), key=best_first)
    found = {group.encoder: _records(study, group) for group in groups}
    everything = [record for records in found.values() for record in records]
    if not everything:
        return None
    usual = Counter(map(_way, everything)).most_common(1)[0][0]
    alike = {name: [each for each in own if _way(each) == usual] for name, own in found.items()}
    kept = {name: own for name, own in alike.items() if own}
    first = next(iter(kept.values()))[0]
    notes = _notes(first, [name for name in found if name not in kept])
    return Confidence(kept, _ensembles(study, groups, usual), first.split, notes)


def _notes(record: ConfidenceRecord, absent: Sequence[str]) -> list[str]:
    """Return what a reader must know of records like this one, and of encoders without any."""
    notes = []
    if absent:
        notes.append(f"Not measured, or with other windows or views: {', '.join(absent)}.")
    if record.split == record.calibration_split:
        notes.append(
            f"The dataset has no test images: temperature and thresholds come from one half of "
            f"{record.split}, the numbers from the other."
        )
    return notes


def _ensembles(study: Study, groups: Sequence[RunGroup], way: str) -> dict[str, ConfidenceRecord]:
    """Return encoder -> the record of all its seeds together, as far as it was measured so."""
    by_runs = {frozenset(each.run_ids): each for each in study.ensembles if _way(each) == way}
    found = {}
    for group in groups:
        record = by_runs.get(frozenset(run.run_id for run in group.runs))
        if record is not None:
            found[group.encoder] = record
    return found


def _records(study: Study, group: RunGroup) -> list[ConfidenceRecord]:
    found = [study.confidences.get(run.run_id) for run in group.runs]
    return [record for record in found if record is not None]


def _way(record: ConfidenceRecord) -> str:
    """Return how a record was measured: equal texts may be compared."""
    return canonical([record.settings["inference"], record.images_sha256])


def confidence_table(study: Study) -> Table:
    """Return calibration and uncertainty of every encoder, at each setting's reference fraction."""
    rows = []
    for setting in study.settings:
        found = confidence_of(study, setting)
        if found is None:
            continue
        share = f"{setting.reference * 100:g}"
        for encoder, records in found.records.items():
            rows.append([setting.title, encoder, share, *_cells(records)])
            if encoder in found.ensembles:
                ensemble = found.ensembles[encoder]
                name = f"{encoder}, {plural(len(ensemble.run_ids), 'seed')} together"
                rows.append([setting.title, name, share, *_cells([ensemble])])
    return Table("Calibration and uncertainty of every encoder.", HEADER, rows, names=2)


def _cells(records: Sequence[ConfidenceRecord]) -> list[str]:
    """Return mean and spread over seeds of every number, and how many seeds there are."""
    cells = []
    for read, factor, digits in NUMBERS:
        known = [value for value in map(read, records) if value is not None]
        cells.append(summarize(known).text(factor, digits))
    return [*cells, str(len(records))]
