"""How two kinds of masks of the same images hang together: which one tells the other, and which one numbers objects."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr

from encoder_ablations.data.intake.layouts.folder_names import words_of
from encoder_ablations.data.intake.layouts.regions import View, pieces_of

TOLERATED = 0.02
"""Share of the pixels beside the largest value that may disagree: a few masks of large datasets have slips."""
OBJECT_WORDS = frozenset({"object", "objects", "instance", "instances", "instanceids", "panoptic"})
MOST_OVERLAP = 0.5
"""Intersection over union of the masks of two classes; two people's masks of one class overlap more."""
SOME_NUMBERS, MANY_NUMBERS = 6, 20
NEARLY_ALL = 0.95
FADING = -0.8
"""Rank correlation between a number and how many masks hold it."""
ONE_PIECE = 0.9


@dataclass
class Kind:
    """Masks of one kind, as far as they were looked at.

    Attributes:
        views: image -> what its file holds.
    """

    name: str
    views: dict[str, View] = field(default_factory=dict)

    @property
    def picture(self) -> bool:
        """Whether most files are photographs or visualisations, or none can be read."""
        return 2 * sum(each.picture for each in self.views.values()) >= len(self.views)

    @property
    def color(self) -> bool:
        return any(each.color for each in self.views.values())

    @cached_property
    def values(self) -> Counter[int]:
        """Value -> number of masks that hold it."""
        found: Counter[int] = Counter()
        for each in self.views.values():
            found.update(np.unique(each.codes).tolist())
        return found

    @property
    def binary(self) -> bool:
        """Whether masks hold 0 and one other value, the same in all of them."""
        return not self.color and len(set(self.values) - {0}) <= 1

    @property
    def named_objects(self) -> bool:
        return any(
            word.lower() in OBJECT_WORDS for part in self.name.split("/") for word in words_of(part)
        )

    def describe(self) -> str:
        """What the masks hold, in a few words."""
        values = sorted(self.values)
        if self.color:
            return f"{len(values)} colours"
        shown = ", ".join(map(str, values[:6]))
        return f"values {shown}{', … ' + str(values[-1]) if len(values) > 6 else ''}"


Table = Counter[tuple[int, int]]


def joint(one: Kind, other: Kind) -> list[Table]:
    """For every image that both show: how many pixels each pair of values has."""
    tables = []
    for name in one.views.keys() & other.views.keys():
        first, second = one.views[name].codes, other.views[name].codes
        if first.shape == second.shape:
            keys, counts = np.unique((first.astype(np.int64) << 32) + second, return_counts=True)
            pairs = zip((keys >> 32).tolist(), (keys & 0xFFFFFFFF).tolist(), strict=True)
            tables.append(Counter(dict(zip(pairs, counts.tolist(), strict=True))))
    return tables


def pooled(tables: Sequence[Table]) -> Table:
    total: Table = Counter()
    for table in tables:
        total.update(table)
    return total


def turned(table: Table) -> Table:
    return Counter({(second, first): count for (first, second), count in table.items()})


def tells(table: Table) -> bool:
    """Whether the first value of a pixel tells the second."""
    best: dict[int, int] = {}
    totals: Counter[int] = Counter()
    for (first, second), count in table.items():
        best[first] = max(best.get(first, 0), count)
        totals[second] += count
    wrong = table.total() - sum(best.values())
    return wrong <= TOLERATED * (table.total() - max(totals.values()))


def encodes(table: Table) -> bool:
    """Whether the first value is class · 1000 + number or class · 256 + number, as in Cityscapes and Vistas."""
    for base in (1000, 256):
        fits = all(second in (first, first // base) for first, second in table)
        if fits and any(first >= base for first, _ in table):
            return True
    return False


def overlap(one: Kind, other: Kind) -> float:
    """Intersection over union of all that is not 0."""
    table = pooled(joint(one, other))
    union = sum(count for values, count in table.items() if any(values))
    return sum(count for values, count in table.items() if all(values)) / max(1, union)


def numbers_objects(per_mask: Sequence[set[int]], views: Callable[[], Sequence[View]]) -> bool:
    """Whether values number the objects of each image by themselves, instead of naming classes.

    Then a value is nearly always one connected piece, and either masks of more objects hold all values of those of
    fewer, or nearly every value is in one mask only, or higher values are the rarer ones.

    Args:
        per_mask: values of every mask, without 0 and what is not labelled.
        views: reads some of the masks; called only where the values alone do not decide.
    """
    shown = [values for values in per_mask if values]
    if len(shown) < 3:
        return False
    masks_of = Counter(value for values in shown for value in values)
    several = len(masks_of) >= MANY_NUMBERS and masks_of.total() >= 3 * len(shown)
    scattered = several and masks_of.total() < 1.5 * len(masks_of)
    if not (_is_chain(shown) or scattered or (several and _fades(masks_of))):
        return False
    return _in_one_piece(views()) >= ONE_PIECE


def _is_chain(shown: Sequence[set[int]]) -> bool:
    """Whether every mask holds the values of those with fewer: 1, 2; 1, 2, 3; …"""
    rising = sorted(shown, key=len)
    contained = sum(one <= other for one, other in pairwise(rising))
    lengths = {len(values) for values in shown}
    return (
        len(lengths) >= 3
        and max(lengths) >= SOME_NUMBERS
        and contained >= NEARLY_ALL * (len(rising) - 1)
    )


def _fades(masks_of: Counter[int]) -> bool:
    """Whether fewer masks hold higher values: many images have three objects, few have thirty."""
    values, counts = zip(*masks_of.items(), strict=True)
    return bool(len(set(counts)) > 1 and spearmanr(values, counts).statistic < FADING)


def _in_one_piece(views: Sequence[View]) -> float:
    """Share of (mask, value) whose pixels are connected; 0 and 255 are left out."""
    pieces = [
        pieces_of(each.codes, value)
        for each in views
        for value in np.unique(each.codes).tolist()
        if value not in (0, 255)
    ]
    return pieces.count(1) / max(1, len(pieces))
