"""What the counts of all masks together say about the classes."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from encoder_ablations.data.checks.facts import PairFacts, with_mask
from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.class_names import invented_names
from encoder_ablations.data.datasets.spec import MOST_CLASSES, DatasetSpec
from encoder_ablations.utils.texts import first_names, plural

RARE = 0.0005
"""A class with a smaller share of the labelled training pixels is reported."""

_Totals = dict[str, np.ndarray]
"""Split -> K int64, pixels of each class in all its masks."""


def class_findings(spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """Find classes without a name, without pixels or with few, and masks that lack most labels."""
    if len(spec.classes) > MOST_CLASSES:
        detail = f"{len(spec.classes)}, at most {MOST_CLASSES} can be"
        yield finding("many-classes", None, "", detail)
    if invented := invented_names(spec.classes):
        detail = f"{plural(len(invented), 'class')}: {first_names(invented, 8)}"
        yield finding("class-unnamed", None, "", detail)
    totals: _Totals = {}
    for split in spec.splits:
        masks = [mask for each, mask in with_mask(facts) if each.split == split]
        if not masks:
            continue
        totals[split] = np.sum([mask.counts for mask in masks], axis=0)
        labelled = totals[split].sum() / sum(sum(mask.values.values()) for mask in masks)
        if labelled < 0.5:
            detail = f"{100 * (1 - labelled):.0f} % of the pixels have no class"
            yield finding("mostly-unlabelled", None, split, detail)
    if "train" in totals:
        yield from _single_class(spec, totals["train"])
        yield from _off_by_one(spec, facts)
        yield from _absent_classes(spec, totals)
        yield from _rare_classes(spec, totals["train"])


def _single_class(spec: DatasetSpec, pixels: np.ndarray) -> Iterator[Finding]:
    shown = np.flatnonzero(pixels)
    if len(spec.classes) > 1 and len(shown) < 2:
        only = f"only '{spec.classes[shown[0]]}'" if len(shown) else "no class"
        detail = f"{only}; ignored are the ids {', '.join(map(str, spec.ignore_ids))}"
        yield finding("single-class", None, "train", detail)


def _off_by_one(spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """Masks of 1..K in place of 0..K-1."""
    one_more = len(spec.classes)
    if spec.value_map is not None or spec.reduce_zero_label or spec.ignore_others:
        return
    if one_more in spec.ignore_ids:
        return
    holding = Counter(value for _, mask in with_mask(facts) for value in mask.values)
    if holding[0] == 0 and holding[one_more]:
        detail = f"no mask holds 0, {holding[one_more]} hold {one_more}"
        yield finding("off-by-one", None, "", detail)


def _absent_classes(spec: DatasetSpec, totals: _Totals) -> Iterator[Finding]:
    """Classes that a split lacks; those of another split that the training split lacks are worse."""
    for number, name in enumerate(spec.classes):
        showing = [split for split, pixels in totals.items() if pixels[number]]
        if showing and "train" not in showing:
            detail = f"'{name}' is shown in {' and '.join(showing)} and not in train"
            yield finding("class-unseen", None, "train", detail)
            continue
        for split in totals:
            if split not in showing:
                yield finding("class-absent", None, split, f"no mask shows '{name}'")


def _rare_classes(spec: DatasetSpec, pixels: np.ndarray) -> Iterator[Finding]:
    shares = pixels / max(1, pixels.sum())
    for number in np.flatnonzero((pixels > 0) & (shares < RARE)):
        detail = f"'{spec.classes[number]}' has {100 * shares[number]:.2g} % of the pixels"
        yield finding("class-imbalance", None, "train", detail)
