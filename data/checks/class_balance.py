"""What the counts of all masks together say about the classes."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain, compress

import numpy as np

from encoder_ablations.data.checks.facts import Content, grouped
from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.class_names import invented_names
from encoder_ablations.data.datasets.decoding import class_table
from encoder_ablations.data.datasets.spec import MOST_CLASSES, Split
from encoder_ablations.utils.texts import first_names, plural

RARE = 0.0005
"""A class with a smaller share of the labelled training pixels is reported."""


def many_classes(content: Content) -> Iterator[Finding]:
    """Find a number of classes that training refuses."""
    classes = len(content.spec.classes)
    if classes > MOST_CLASSES:
        yield finding("many-classes", None, "", f"{classes}, at most {MOST_CLASSES} can be")


def unnamed_classes(content: Content) -> Iterator[Finding]:
    """Find names of classes that nobody gave them."""
    if invented := invented_names(content.spec.classes):
        detail = f"{plural(len(invented), 'class')}: {first_names(invented, 8)}"
        yield finding("class-unnamed", None, "", detail)


def unlabelled_splits(content: Content) -> Iterator[Finding]:
    """Find splits of whose pixels less than half have a class."""
    for split, masks in grouped(content.masks, lambda read: read[0].split).items():
        pixels = sum(sum(mask.values.values()) for _, mask in masks)
        labelled = content.class_pixels[split].sum() / pixels
        if labelled < 0.5:
            detail = f"{100 * (1 - labelled):.0f} % of the pixels have no class"
            yield finding("mostly-unlabelled", None, split, detail)


def shown_classes(content: Content) -> Iterator[Finding]:
    """Find classes that a split lacks, and those that training shows too seldom."""
    totals = content.class_pixels
    # a finding about classes says little while no training mask could be read
    if "train" in totals:
        yield from _single_class(content, totals["train"])
        yield from _off_by_one(content)
        yield from _absent_classes(content, totals)
        yield from _rare_classes(content, totals["train"])


def _single_class(content: Content, pixels: np.ndarray) -> Iterator[Finding]:
    classes = content.spec.classes
    shown = [f"only '{classes[number]}'" for number in np.flatnonzero(pixels)]
    if len(shown) < 2 <= len(classes):
        ignored = ", ".join(map(str, content.spec.ignore_ids))
        detail = f"{''.join(shown) or 'no class'}; ignored are the ids {ignored}"
        yield finding("single-class", None, "train", detail)


def _off_by_one(content: Content) -> Iterator[Finding]:
    """Masks of 1..K in place of 0..K-1."""
    spec = content.spec
    one_more = len(spec.classes)
    unknown = class_table(spec)[one_more] < 0
    # how many masks hold each value
    holding = Counter(chain.from_iterable(mask.values for _, mask in content.masks))
    if spec.value_map is None and unknown and holding[one_more] and not holding[0]:
        detail = f"no mask holds 0, {holding[one_more]} hold {one_more}"
        yield finding("off-by-one", None, "", detail)


def _absent_classes(content: Content, totals: dict[Split, np.ndarray]) -> Iterator[Finding]:
    """Classes that a split lacks; those of another split that the training split lacks are worse.

    Args:
        content: what was read.
        totals: split -> K int64, pixels of each class.
    """
    shown_in = np.array([*totals.values()]).T > 0
    in_training = totals["train"] > 0
    for name, shown, trained in zip(content.spec.classes, shown_in, in_training, strict=True):
        showing = " and ".join(compress(totals, shown))
        if showing and not trained:
            detail = f"'{name}' is shown in {showing} and not in train"
            yield finding("class-unseen", None, "train", detail)
        else:
            for split in compress(totals, ~shown):
                yield finding("class-absent", None, split, f"no mask shows '{name}'")


def _rare_classes(content: Content, pixels: np.ndarray) -> Iterator[Finding]:
    shares = pixels / max(1, pixels.sum())
    for number in np.flatnonzero((pixels > 0) & (shares < RARE)):
        detail = f"'{content.spec.classes[number]}' has {100 * shares[number]:.2g} % of the pixels"
        yield finding("class-imbalance", None, "train", detail)
