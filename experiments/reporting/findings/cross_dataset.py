"""Scores on datasets that an encoder was not trained on, beside its scores at home."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

import numpy as np

from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import canonical
from encoder_ablations.experiments.runs.metrics_record import MetricsRecord
from encoder_ablations.experiments.runs.transfer.record import TransferRecord
from encoder_ablations.experiments.stats.seeds import ENOUGH, Summary, paired_difference, summarize
from encoder_ablations.utils.texts import plural

Seeds = dict[int, TransferRecord]
Cells = Mapping[tuple[RunGroup, str], "Cell"]
"""Runs and the dataset that they were tested on -> cell."""


@dataclass(frozen=True)
class Crossing:
    """One encoder, trained on one dataset and tested on another, over the classes that both know.

    Attributes:
        group: the runs that were tested.
        place: name of the dataset that was tested on; with split and number of classes where one
            dataset was tested on in several ways.
        sample: the record of one seed.
        score: mIoU there.
        home: mIoU on the own report split, over the same classes.
        drop: ``score`` minus ``home``, seed by seed; without values where no run recorded both.
        kept: mean score divided by the mean at home, over the same seeds; NaN without any.
    """

    group: RunGroup
    place: str
    sample: TransferRecord
    score: Summary
    home: Summary
    drop: Summary
    kept: float


@dataclass(frozen=True)
class Cell:
    """Texts of a cell of a matrix.

    Attributes:
        score: "" where nothing was measured.
        drop: difference to the score at home; "" at home.
        small: numbers of seeds and classes.
        home: whether the column is the dataset that was trained on.
    """

    score: str = ""
    drop: str = ""
    small: str = ""
    home: bool = False


@dataclass(frozen=True)
class Matrix:
    """Scores of one head at one share of the images: rows are trained on, columns tested on.

    Attributes:
        segmenter: the head.
        share: of the training images, as text.
        others: smaller shares that were tested, too.
        columns: names of the datasets that were tested on.
        encoders: title -> rows (dataset trained on -> cells); the best encoder at home comes first.
    """

    segmenter: str
    share: str
    others: list[float]
    columns: list[str]
    encoders: list[tuple[str, list[tuple[str, list[Cell]]]]]


def crossings(study: Study) -> list[Crossing]:
    """Return everything that was tested on other datasets, in the order of the study's settings."""
    tested = {group: _variants(study, group) for group in study.groups}
    ambiguous: set[str] = set()
    ambiguous.update(*map(_measured_twice, tested, tested.values()))
    found = []
    for group, variants in tested.items():
        found += [_crossing(group, *named) for named in _named(variants, ambiguous)]
    return found


def _sample(seeds: Seeds) -> TransferRecord:
    return next(iter(seeds.values()))


def _variants(study: Study, group: RunGroup) -> list[Seeds]:
    """Return the records of a group, those that were tested in the same way together."""
    variants: dict[str, Seeds] = defaultdict(dict)
    for run in group.runs:
        for record in study.transfers.get(run.run_id, ()):
            # the same images, and the same classes merged
            images = [record.tested_on, record.split, record.images_sha256]
            way = canonical([*images, record.trained, record.tested])
            variants[way][run.spec.seed] = record
    return list(variants.values())


def _measured_twice(group: RunGroup, variants: list[Seeds]) -> set[str]:
    """Return the datasets that were tested on in several ways; at home counts as one of them."""
    used = Counter(_sample(seeds).tested_on for seeds in variants)
    used[group.dataset] += 1
    return {name for name, count in used.items() if count > 1}


def _named(variants: list[Seeds], ambiguous: set[str]) -> Iterator[tuple[str, Seeds]]:
    used: Counter[str] = Counter()
    for seeds in variants:
        sample = _sample(seeds)
        place = sample.tested_on
        # one dataset was tested on in several ways: say in which
        if place in ambiguous:
            place = f"{place} ({sample.split}, {_classes(sample)})"
        used[place] += 1
        # the same split and number of classes, but other images or another class map
        if used[place] > 1:
            place = f"{place} [{used[place]}]"
        yield place, seeds


def _crossing(group: RunGroup, place: str, seeds: Seeds) -> Crossing:
    there = _known({seed: record.metrics for seed, record in seeds.items()})
    home = _known({seed: record.at_home for seed, record in seeds.items()})
    shared = sorted(there.keys() & home.keys())
    at_home = sum(home[seed] for seed in shared)
    kept = sum(there[seed] for seed in shared) / (at_home or math.nan)
    return Crossing(
        group,
        place,
        sample=_sample(seeds),
        score=summarize(list(there.values())),
        home=summarize(list(home.values())),
        drop=paired_difference(there, home).over,
        kept=kept,
    )


def _known(metrics: Mapping[int, MetricsRecord | None]) -> dict[int, float]:
    """Return seed -> mIoU, where it was measured."""
    found = {seed: record.miou for seed, record in metrics.items() if record is not None}
    return {seed: value for seed, value in found.items() if value is not None}


def _classes(sample: TransferRecord) -> str:
    return plural(len(sample.class_names), "class")


def matrices(study: Study) -> list[Matrix]:
    """Return a matrix for every head, at the largest share of the images that was tested."""
    by_head: dict[str, list[Crossing]] = defaultdict(list)
    for each in crossings(study):
        by_head[each.group.segmenter].append(each)
    return [_matrix(study, head, found) for head, found in sorted(by_head.items())]


def _matrix(study: Study, segmenter: str, found: list[Crossing]) -> Matrix:
    """Return the matrix of one head, from everything that was tested of it."""
    by_share: dict[float, list[Crossing]] = defaultdict(list)
    for each in found:
        by_share[each.group.fraction].append(each)
    largest, *others = sorted(by_share, reverse=True)
    found = by_share[largest]
    cells = {(each.group, each.place): _cell(each) for each in found}
    tested = {(segmenter, largest, each.group.encoder) for each in found}
    place_of = attrgetter("segmenter", "fraction", "encoder")
    groups = [group for group in study.groups if place_of(group) in tested]
    # own datasets come first, in the study's order
    places = [group.dataset for group in groups] + sorted(map(attrgetter("place"), found))
    columns = list(dict.fromkeys(places))
    encoders = _best_at_home_first(groups)
    rows = [
        (encoder, [_row(group, groups, columns, cells) for group in own])
        for encoder, own in encoders.items()
    ]
    return Matrix(segmenter, formats.fraction(largest), others, columns, rows)


def _best_at_home_first(groups: list[RunGroup]) -> dict[str, list[RunGroup]]:
    """Return encoder -> its groups; the encoder with the best score at home comes first."""
    by_encoder = attrgetter("encoder")
    runs = {name: list(own) for name, own in groupby(sorted(groups, key=by_encoder), by_encoder)}
    best = {
        name: float(np.nan_to_num([group.score.mean for group in own]).max())
        for name, own in runs.items()
    }
    return {name: runs[name] for name in sorted(runs, key=lambda name: (-best[name], name))}


def _row(
    group: RunGroup, groups: list[RunGroup], columns: list[str], cells: Cells
) -> tuple[str, list[Cell]]:
    settings = {each.setting for each in groups if each.dataset == group.dataset}
    name = group.dataset if len(settings) == 1 else group.setting
    at_home = {(group, group.dataset): _home_cell(group)}
    shown = {**cells, **at_home}
    return name, [shown.get((group, column), Cell()) for column in columns]


def _home_cell(group: RunGroup) -> Cell:
    if not group.score.n:
        return Cell()
    return Cell(_score(group.score), small=f"n={group.score.n}", home=True)


def _cell(found: Crossing) -> Cell:
    drop = _with_half_width(formats.points(found.drop.mean), found.drop)
    return Cell(_score(found.score), drop, f"n={found.score.n}, {_classes(found.sample)}")


def _score(summary: Summary) -> str:
    """Return the mean in percent, with its interval from three seeds on."""
    return _with_half_width(formats.percent(summary.mean, missing=formats.DASH), summary)


def _with_half_width(mean: str, summary: Summary) -> str:
    return f"{mean} {formats.half_width(summary)}".rstrip()


HEADER = ["head", "encoder", "trained on", "tested on", "split"]
HEADER += ["fraction (%)", "images", "classes", "mIoU (%)", "low (%)", "high (%)", "n"]
HEADER += ["at home, same classes (%)", "minus home (points)", "low", "high", "kept (%)"]


def transfer_table(study: Study) -> Table:
    """Return everything that was tested on other datasets, at every share of the images."""
    rows = [_table_row(found) for found in crossings(study)]
    caption = "Trained on one dataset, tested on another, over the classes that both know."
    return Table(caption, HEADER, rows, names=5)


def _table_row(found: Crossing) -> list[str]:
    group, sample, drop = found.group, found.sample, found.drop
    where = [group.segmenter, group.encoder, group.setting, found.place, sample.split]
    counts = [f"{group.fraction * 100:g}", str(sample.n_images), str(len(sample.class_names))]
    score = [_score(found.score), *_interval(found.score, _percent), str(found.score.n)]
    lost = [formats.points(drop.mean), *_interval(drop, formats.points)]
    return [*where, *counts, *score, _score(found.home), *lost, formats.percent(found.kept)]


def _percent(value: float) -> str:
    return formats.percent(value, 2)


def _interval(summary: Summary, text: Callable[[float], str]) -> list[str]:
    """Return both ends of the 95 % interval; "" below three seeds."""
    if summary.n < ENOUGH:
        return ["", ""]
    return [text(summary.low), text(summary.high)]
