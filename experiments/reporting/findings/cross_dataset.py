"""Trained on A, tested on B: how much of its score an encoder keeps on datasets that it was not trained on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.collection import RunGroup, Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import canonical
from encoder_ablations.experiments.runs.transfer_record import TransferRecord
from encoder_ablations.experiments.stats.seeds import ENOUGH, Summary, paired_difference, summarize

Seeds = dict[int, TransferRecord]


@dataclass(frozen=True)
class Crossing:
    """One encoder, trained on one dataset and tested on another, over the classes that both know.

    Attributes:
        place: the column: the dataset's name, with split and classes where it was tested on in several ways.
        score: mIoU there. home: mIoU on the own report split, over the same classes.
        drop: ``score`` minus ``home``, seed by seed; None where no run recorded both.
        kept: mean score in shares of the mean at home, over the same seeds.
    """

    group: RunGroup
    place: str
    sample: TransferRecord
    score: Summary
    home: Summary
    drop: Summary | None
    kept: float | None


@dataclass(frozen=True)
class Cell:
    """Texts; ``drop`` is "" at home. A cell without ``score`` was not measured."""

    score: str
    drop: str = ""
    small: str = ""
    home: bool = False


@dataclass(frozen=True)
class Matrix:
    """One head at one share: for each encoder, best at home first, rows are trained on, columns tested on."""

    segmenter: str
    share: str
    others: list[float]
    columns: list[str]
    encoders: list[tuple[str, list[tuple[str, list[Cell]]]]]


def crossings(study: Study) -> list[Crossing]:
    """All that was tested elsewhere, in the order of the study's settings."""
    found = {group: variants for group in study.groups if (variants := _variants(study, group))}
    several = {
        name for group, variants in found.items() for name in _measured_twice(group, variants)
    }
    return [
        _crossing(group, seeds, place)
        for group, variants in found.items()
        for place, seeds in _named(variants.values(), several)
    ]


def _variants(study: Study, group: RunGroup) -> dict[str, Seeds]:
    """What was tested in the same way -> seed -> record."""
    variants: dict[str, Seeds] = {}
    for run in group.runs:
        for record in study.transfers.get(run.run_id, ()):
            way = [
                record.tested_on,
                record.split,
                record.images_sha256,
                record.trained,
                record.tested,
            ]
            variants.setdefault(canonical(way), {})[run.spec.seed] = record
    return variants


def _measured_twice(group: RunGroup, variants: dict[str, Seeds]) -> set[str]:
    """Datasets that need more than their name; the own one was measured at home already."""
    names = [group.dataset, *(next(iter(seeds.values())).tested_on for seeds in variants.values())]
    return {name for name in names if names.count(name) > 1}


def _named(variants: Iterable[Seeds], several: set[str]) -> Iterable[tuple[str, Seeds]]:
    used: dict[str, int] = {}
    for seeds in variants:
        sample = next(iter(seeds.values()))
        place = sample.tested_on
        if place in several:
            place = f"{place} ({sample.split}, {_classes(sample)})"
        used[place] = used.get(place, 0) + 1
        yield (place if used[place] == 1 else f"{place} [{used[place]}]"), seeds


def _crossing(group: RunGroup, seeds: Seeds, place: str) -> Crossing:
    there = {
        seed: record.metrics.miou
        for seed, record in seeds.items()
        if record.metrics.miou is not None
    }
    homes = {seed: record.at_home.miou for seed, record in seeds.items() if record.at_home}
    home = {seed: value for seed, value in homes.items() if value is not None}
    difference = paired_difference(there, home)
    shared = there.keys() & home.keys()
    at_home = sum(home[seed] for seed in shared)
    kept = sum(there[seed] for seed in shared) / at_home if at_home else None
    drop = None if difference is None else difference.over
    sample = next(iter(seeds.values()))
    return Crossing(
        group, place, sample, summarize([*there.values()]), summarize([*home.values()]), drop, kept
    )


def _classes(sample: TransferRecord) -> str:
    return f"{len(sample.class_names)} {'class' if len(sample.class_names) == 1 else 'classes'}"


def matrices(study: Study) -> list[Matrix]:
    """A matrix for every head, at the largest share of the images that was tested elsewhere."""
    everything = crossings(study)
    made = []
    for segmenter in sorted({each.group.segmenter for each in everything}):
        found = [each for each in everything if each.group.segmenter == segmenter]
        shares = sorted({each.group.fraction for each in found}, reverse=True)
        found = [each for each in found if each.group.fraction == shares[0]]
        encoders = sorted({each.group.encoder for each in found})
        groups = [
            group
            for group in study.groups
            if (group.segmenter, group.fraction) == (segmenter, shares[0])
            and group.encoder in encoders
        ]
        encoders.sort(
            key=lambda name: -max(each.score.mean or 0.0 for each in groups if each.encoder == name)
        )
        columns = list(
            dict.fromkeys(
                [*(group.dataset for group in groups), *sorted(each.place for each in found)]
            )
        )
        cells = {(each.group, each.place): _cell(each) for each in found}
        rows = [
            (
                encoder,
                [
                    _row(group, groups, columns, cells)
                    for group in groups
                    if group.encoder == encoder
                ],
            )
            for encoder in encoders
        ]
        made.append(Matrix(segmenter, formats.fraction(shares[0]), shares[1:], columns, rows))
    return made


def _row(
    group: RunGroup,
    groups: list[RunGroup],
    columns: list[str],
    cells: dict[tuple[RunGroup, str], Cell],
) -> tuple[str, list[Cell]]:
    settings = {each.setting for each in groups if each.dataset == group.dataset}
    name = group.dataset if len(settings) == 1 else group.setting
    at_home = (
        Cell(_score(group.score), "", _seeds(group.score.n), True) if group.score.n else Cell("")
    )
    return name, [
        at_home if column == group.dataset else cells.get((group, column), Cell(""))
        for column in columns
    ]


def _cell(found: Crossing) -> Cell:
    drop = "" if found.drop is None else _points(found.drop)
    return Cell(_score(found.score), drop, f"{_seeds(found.score.n)}, {_classes(found.sample)}")


def _seeds(n: int) -> str:
    return f"n={n}"


def _score(summary: Summary) -> str:
    """Percent; an interval from three seeds on, nothing else below."""
    if summary.mean is None:
        return formats.DASH
    spread = "" if summary.half_width is None else f" ± {100 * summary.half_width:.1f}"
    return f"{100 * summary.mean:.1f}{spread}"


def _points(over: Summary) -> str:
    spread = "" if over.half_width is None else f" ± {100 * over.half_width:.1f}"
    return f"{formats.points(over.mean or 0.0)}{spread}"


def transfer_table(study: Study) -> Table:
    """Everything that was tested elsewhere, at every share of the images; intervals from three seeds on."""
    rows = []
    for found in crossings(study):
        group, sample, drop = found.group, found.sample, found.drop
        where = [group.segmenter, group.encoder, group.setting, found.place, sample.split]
        counts = [f"{group.fraction * 100:g}", str(sample.n_images), str(len(sample.class_names))]
        scores = [
            _score(found.score),
            *_bounds(found.score),
            str(found.score.n),
            _score(found.home),
        ]
        lost = (
            [formats.points(drop.mean or 0.0), *_bounds(drop, formats.points)]
            if drop
            else ["", "", ""]
        )
        rows.append(
            [
                *where,
                *counts,
                *scores,
                *lost,
                "" if found.kept is None else f"{100 * found.kept:.1f}",
            ]
        )
    header = [
        "head",
        "encoder",
        "trained on",
        "tested on",
        "split",
        "fraction (%)",
        "images",
        "classes",
        "mIoU (%)",
    ]
    header += [
        "low (%)",
        "high (%)",
        "n",
        "at home, same classes (%)",
        "minus home (points)",
        "low",
        "high",
        "kept (%)",
    ]
    return Table(
        "Trained on one dataset, tested on another, over the classes that both know.",
        header,
        rows,
        names=5,
    )


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _bounds(summary: Summary, text: Callable[[float], str] = _percent) -> list[str]:
    if summary.n < ENOUGH or summary.low is None or summary.high is None:
        return ["", ""]
    return [text(summary.low), text(summary.high)]
