"""Tables of labelled images that are needed to reach what was reached without labels."""

from collections.abc import Iterator, Sequence
from itertools import chain, product

from encoder_ablations.experiments.reporting.findings.groups import class_score
from encoder_ablations.experiments.reporting.findings.labels.label_curves import (
    Arm,
    LabelCurves,
    Needed,
    images_of,
)
from encoder_ablations.experiments.reporting.findings.ranking import cost_of
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.label_counts import bounds_text, images_text
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.stats.efficiency import label_efficiency
from encoder_ablations.experiments.stats.seeds import ENOUGH

NEEDED = ["dataset", "labelled images that score the same", "95 % interval", "n"]
NEEDED += ["without labels", "with labels", "interval over"]
PER_CLASS = ["dataset", "class", "labelled images that score the same", "95 % interval over seeds"]
PER_CLASS += ["without labels (%)", "with all (%)", "without labels", "with labels"]
"""The long names of encoders and heads come last, so that the numbers need no scrolling."""
NO_SCORE = 0.0005
"""IoU below which a class counts as never found: it is printed as 0.0 %."""
COST = ["dataset", "encoder and head", "labelled images", "score (%)", "latency (ms)"]
COST += ["GFLOPs", "training or reading labels (s)"]


def labels_table(curves: Sequence[LabelCurves]) -> Table:
    """Return how many labelled images every arm needs for every score without labels."""
    rows = [_needed_row(each.dataset, needed) for each in curves for needed in each.needed]
    caption = "Labelled images with which a head scores what another does without labels."
    return Table(caption, NEEDED, rows, last_names=3)


def _needed_row(dataset: str, needed: Needed) -> list[str]:
    found, labelled = needed.found, needed.labelled
    over = {True: "seeds and test images", False: "seeds"}[needed.with_images]
    if found.n < ENOUGH:
        over = ""
    texts = [images_text(found, labelled.images), bounds_text(found), str(found.n)]
    return [dataset, *texts, needed.without.title, labelled.title, over]


def labels_per_class_table(curves: Sequence[LabelCurves]) -> Table:
    """Return how many labelled images every class needs to score as without labels."""
    found = [
        _class_rows(each.dataset, without, labelled)
        for each in curves
        for without, labelled in product(each.without, each.labelled)
    ]
    caption = "Labelled images with which a class scores as without labels."
    rows = list(chain.from_iterable(found))
    return Table(caption, PER_CLASS, rows, names=2, last_names=2)


def _class_rows(dataset: str, without: Arm, labelled: Arm) -> Iterator[list[str]]:
    for name in without.largest.spec.dataset.classes:
        read = class_score(name)
        curve = {float(images_of(group)): group.values(read) for group in labelled.groups}
        alone = list(without.largest.values(read).values())
        if not alone or not all(curve.values()):
            continue
        seeds = set.intersection(*map(set, curve.values()))
        found = label_efficiency(curve, dict.fromkeys(seeds, alone[0]))
        if found is None:
            continue
        most = labelled.largest.summary(read).mean
        answer = [images_text(found, labelled.images), bounds_text(found)]
        # a class that is found neither way has nothing to reach
        if max(alone[0], most) < NO_SCORE:
            answer = [formats.DASH, formats.DASH]
        shares = [formats.percent(alone[0]), formats.percent(most)]
        yield [dataset, name, *answer, *shares, without.title, labelled.title]


def labels_cost_table(curves: Sequence[LabelCurves]) -> Table:
    """Return what an image costs with every arm, beside its score with most labels."""
    rows = [_cost_row(each, arm) for each in curves for arm in each.arms]
    return Table("Cost of one image, with and without labels.", COST, rows, names=2)


def _cost_row(curves: LabelCurves, arm: Arm) -> list[str]:
    group = arm.largest
    cost = cost_of(group.runs)
    speed = [formats.three_digits(cost.latency[1]), formats.giga(cost.flops)]
    names = [curves.dataset, arm.title, str(images_of(group)), group.score.text()]
    return [*names, *speed, f"{cost.train_seconds:.0f}"]
