"""Scores on datasets that an encoder was not trained on, beside its scores at home."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import canonical
from encoder_ablations.experiments.runs.transfer_record import TransferRecord
from encoder_ablations.experiments.stats.seeds import ENOUGH, Summary, paired_difference, summarize
from encoder_ablations.utils.texts import plural

Seeds = dict[int, TransferRecord]


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
        drop: ``score`` minus ``home``, seed by seed; None where no run recorded both.
        kept: mean score divided by the mean at home, over the same seeds.
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
    """Texts of a cell of a matrix.

    Attributes:
        score: "" where nothing was measured.
        drop: difference to the score at home; "" at home.
        small: numbers of seeds and classes.
        home: whether the column is the dataset that was trained on.
    """

    score: str
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
    ambiguous = set()
    for group, variants in tested.items():
        ambiguous |= _measured_twice(group, variants)
    found = []
    for group, variants in tested.items():
        for place, seeds in _named(variants, ambiguous):
            found.append(_crossing(group, seeds, place))
    return found


def _sample(seeds: Seeds) -> TransferRecord:
    return next(iter(seeds.values()))


def _variants(study: Study, group: RunGroup) -> list[Seeds]:
    """Return the records of a group, those that were tested in the same way together."""
    variants: dict[str, Seeds] = {}
    for run in group.runs:
        for record in study.transfers.get(run.run_id, ()):
            images = [record.tested_on, record.split, record.images_sha256]
            way = canonical([*images, record.trained, record.tested])
            variants.setdefault(way, {})[run.spec.seed] = record
    return list(variants.values())


def _measured_twice(group: RunGroup, variants: list[Seeds]) -> set[str]:
    """Return the datasets that were tested on in several ways; at home counts as one of them."""
    names = [group.dataset, *(_sample(seeds).tested_on for seeds in variants)]
    return {name for name in names if names.count(name) > 1}


def _named(variants: list[Seeds], ambiguous: set[str]) -> Iterator[tuple[str, Seeds]]:
    used: Counter[str] = Counter()
    for seeds in variants:
        sample = _sample(seeds)
        place = sample.tested_on
        if place in ambiguous:
            place = f"{place} ({sample.split}, {_classes(sample)})"
        used[place] += 1
        if used[place] > 1:
            place = f"{place} [{used[place]}]"
        yield place, seeds


def _crossing(group: RunGroup, seeds: Seeds, place: str) -> Crossing:
    there: dict[int, float] = {}
    home: dict[int, float] = {}
    for seed, record in seeds.items():
        if record.metrics.miou is not None:
            there[seed] = record.metrics.miou
        if record.at_home and record.at_home.miou is not None:
            home[seed] = record.at_home.miou
    difference = paired_difference(there, home)
    shared = there.keys() & home.keys()
    at_home = sum(home[seed] for seed in shared)
    return Crossing(
        group,
        place,
        sample=_sample(seeds),
        score=summarize(list(there.values())),
        home=summarize(list(home.values())),
        drop=difference.over if difference else None,
        kept=sum(there[seed] for seed in shared) / at_home if at_home else None,
    )


def _classes(sample: TransferRecord) -> str:
    return plural(len(sample.class_names), "class")


def matrices(study: Study) -> list[Matrix]:
    """Return a matrix for every head, at the largest share of the images that was tested."""
    found = crossings(study)
    heads = sorted({each.group.segmenter for each in found})
    return [
        _matrix(study, [each for each in found if each.group.segmenter == head]) for head in heads
    ]


def _matrix(study: Study, found: list[Crossing]) -> Matrix:
    """Return the matrix of one head, from everything that was tested of it."""
    segmenter = found[0].group.segmenter
    largest, *others = sorted({each.group.fraction for each in found}, reverse=True)
    found = [each for each in found if each.group.fraction == largest]
    tested = {each.group.encoder for each in found}
    groups = [
        group
        for group in study.groups
        if (group.segmenter, group.fraction) == (segmenter, largest) and group.encoder in tested
    ]
    by_encoder: dict[str, list[RunGroup]] = {}
    for group in groups:
        by_encoder.setdefault(group.encoder, []).append(group)
    # own datasets come first, in the study's order
    places = [group.dataset for group in groups] + sorted(each.place for each in found)
    columns = list(dict.fromkeys(places))
    cells = {(each.group, each.place): _cell(each) for each in found}
    rows = []
    for encoder in sorted(by_encoder, key=lambda name: (-_best_at_home(by_encoder[name]), name)):
        lines = [_row(group, groups, columns, cells) for group in by_encoder[encoder]]
        rows.append((encoder, lines))
    return Matrix(segmenter, formats.fraction(largest), others, columns, rows)


def _best_at_home(groups: list[RunGroup]) -> float:
    return max(group.score.mean or 0.0 for group in groups)


def _row(
    group: RunGroup,
    groups: list[RunGroup],
    columns: list[str],
    cells: dict[tuple[RunGroup, str], Cell],
) -> tuple[str, list[Cell]]:
    settings = {each.setting for each in groups if each.dataset == group.dataset}
    name = group.dataset if len(settings) == 1 else group.setting
    shown = {column: cells.get((group, column), Cell("")) for column in columns}
    if group.dataset in shown:
        shown[group.dataset] = _home_cell(group)
    return name, list(shown.values())


def _home_cell(group: RunGroup) -> Cell:
    if not group.score.n:
        return Cell("")
    return Cell(_score(group.score), small=f"n={group.score.n}", home=True)


def _cell(found: Crossing) -> Cell:
    drop = _points(found.drop) if found.drop else ""
    return Cell(_score(found.score), drop, f"n={found.score.n}, {_classes(found.sample)}")


def _score(summary: Summary) -> str:
    """Return the mean in percent, with its interval from three seeds on."""
    if summary.mean is None:
        return formats.DASH
    return f"{100 * summary.mean:.1f}{_half_width(summary)}"


def _points(over: Summary) -> str:
    return f"{formats.points(over.mean or 0.0)}{_half_width(over)}"


def _half_width(summary: Summary) -> str:
    return "" if summary.half_width is None else f" ± {100 * summary.half_width:.1f}"


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
    score = [_score(found.score), *_bounds(found.score, _percent), str(found.score.n)]
    lost = ["", "", ""]
    if drop is not None:
        lost = [formats.points(drop.mean or 0.0), *_bounds(drop, formats.points)]
    kept = "" if found.kept is None else f"{100 * found.kept:.1f}"
    return [*where, *counts, *score, _score(found.home), *lost, kept]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _bounds(summary: Summary, text: Callable[[float], str]) -> list[str]:
    if summary.n < ENOUGH or summary.low is None or summary.high is None:
        return ["", ""]
    return [text(summary.low), text(summary.high)]
