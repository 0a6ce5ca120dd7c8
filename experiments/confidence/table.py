"""A record of confidence as text for the terminal."""

from pathlib import Path

from encoder_ablations.experiments.confidence.record import (
    CalibrationRecord,
    ConfidenceRecord,
    SelectiveRecord,
    SetsRecord,
)
from encoder_ablations.utils.texts import first_names, plural


def confidence_table(record: ConfidenceRecord, path: Path) -> str:
    """Return all numbers of a record, and where it lies."""
    title = record.run_ids[0]
    if len(record.run_ids) > 1:
        title = f"ensemble of {len(record.run_ids)} runs: {', '.join(record.run_ids)}"
    lines = [
        f"{title}, {record.dataset} {record.split}, {plural(record.n_images, 'image')} "
        f"({record.pixels} labelled pixels)",
        f"  temperature {record.temperature:.2f} and thresholds from "
        f"{plural(record.n_calibration_images, 'other image')} of {record.calibration_split}",
        f"  {'':<28}{'ECE %':>9}{'class-wise %':>14}{'NLL':>9}{'Brier':>9}",
        _calibration("as it is", record.before),
        _calibration("with the temperature", record.after),
        f"  {'left out by':<28}{'AURC %':>9}{'ideal %':>14}{'error %':>9}{'Spearman':>9}",
        _selective("entropy", record.entropy),
    ]
    if record.disagreement is not None:
        lines.append(_selective("disagreement", record.disagreement))
    return "\n".join([*lines, *_sets(record.sets), f"  record: {path}"])


def _calibration(name: str, found: CalibrationRecord) -> str:
    ece = f"{100 * found.ece:9.2f}{100 * found.classwise_ece:14.2f}"
    return f"  {name:<28}{ece}{found.nll:9.3f}{found.brier:9.3f}"


def _selective(name: str, found: SelectiveRecord) -> str:
    areas = f"{100 * found.aurc:9.2f}{100 * found.ideal_aurc:14.2f}{100 * found.error:9.2f}"
    correlation = f"{'–':>9}"
    if found.spearman is not None:
        correlation = f"{found.spearman:9.2f}"
    return f"  {name:<28}{areas}{correlation}"


def _sets(sets: SetsRecord) -> list[str]:
    """Return a line on the sets, and one on the classes whose rate cannot be held."""
    lines = [
        f"  sets of classes that miss a class on at most {100 * sets.level:g} % of its pixels "
        f"(expected over images): {sets.mean_size:.2f} classes a pixel",
        f"  {'class':<28}{'held %':>9}{'missed %':>14}{'images':>9}",
    ]
    held = set(sets.held)
    for name, each in sets.classes.items():
        if name not in held:
            continue
        missed = "–"
        if each.miss_rate is not None:
            missed = f"{100 * each.miss_rate:.2f}"
        lines.append(f"  {name:<28}{100 * sets.level:9g}{missed:>14}{each.images:9}")
    if sets.unheld:
        lines.append(
            f"  {first_names(sets.unheld)}: in every set, because a rate of "
            f"{100 * sets.level:g} % needs {plural(sets.images_needed, 'calibration image')} with "
            "the class (1/α - 1)"
        )
    return lines
