"""How two kinds of masks of the same images are related, and which masks number objects."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise

import numpy as np
from scipy.stats import spearmanr

from encoder_ablations.data.intake.layouts.codes import add_counts, count_pixels
from encoder_ablations.data.intake.layouts.folder_names import words_of
from encoder_ablations.data.intake.layouts.regions import View, pieces_of

TOLERATED = 0.02
"""Share of the pixels outside the largest value that may disagree: some masks have slips."""
OBJECT_WORDS = frozenset({"object", "objects", "instance", "instances", "instanceids", "panoptic"})
MOST_OVERLAP = 0.5
"""Largest IoU of the masks of two classes; two people's masks of one class overlap more."""
SOME_NUMBERS, MANY_NUMBERS = 6, 20
NEARLY_ALL = 0.95
FADING = -0.8
"""Rank correlation between a number and how many masks hold it."""
ONE_PIECE = 0.9


@dataclass
class Kind:
    """Masks of one kind that were looked at.

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
        """Whether any file holds colours."""
        return any(each.color for each in self.views.values())

    @cached_property
    def values(self) -> Counter[int]:
        """Value -> number of masks that hold it."""
        return Counter(
            chain.from_iterable(np.unique(each.codes).tolist() for each in self.views.values())
        )

    @property
    def binary(self) -> bool:
        """Whether masks hold 0 and one other value, the same in all of them."""
        return not self.color and len(set(self.values) - {0}) <= 1

    @property
    def named_objects(self) -> bool:
        """Whether the name of the kind says that its masks number objects."""
        words = chain.from_iterable(map(words_of, self.name.split("/")))
        return any(word.lower() in OBJECT_WORDS for word in words)

    @property
    def numbers_objects(self) -> bool:
        """Whether the values themselves number objects."""
        views = list(self.views.values())
        per_mask = [set(np.unique(each.codes).tolist()) - {0, 255} for each in views]
        return numbers_objects(per_mask, lambda: views)

    def describe(self) -> str:
        """Return what the masks hold, in a few words."""
        values = sorted(self.values)
        if self.color:
            return f"{len(values)} colours"
        shown = ", ".join(map(str, values[:6]))
        if len(values) > 6:
            shown += f", … {values[-1]}"
        return f"values {shown}"


Table = Counter[tuple[int, int]]


def joint(one: Kind, other: Kind) -> list[Table]:
    """Return the pixels of each pair of values, for every image that both kinds show."""
    tables = []
    for name in one.views.keys() & other.views.keys():
        first, second = one.views[name].codes, other.views[name].codes
        if first.shape == second.shape:
            counts = count_pixels((first.astype(np.int64) << 32) + second)
            tables.append(
                Counter({(key >> 32, key & 0xFFFFFFFF): count for key, count in counts.items()})
            )
    return tables


def turned(table: Table) -> Table:
    """Return the table with the first and the second value exchanged."""
    return Counter({(second, first): count for (first, second), count in table.items()})


def tells(table: Table) -> bool:
    """Return whether the first value of a pixel determines the second."""
    best: dict[int, int] = {}
    totals: Counter[int] = Counter()
    for (first, second), count in table.items():
        best[first] = max(best.get(first, 0), count)
        totals[second] += count
    wrong = table.total() - sum(best.values())
    return wrong <= TOLERATED * (table.total() - max(totals.values()))


def encodes(table: Table) -> bool:
    """Return whether the first value holds the second, a class, and an object's number.

    Cityscapes writes class · 1000 + number, Vistas class · 256 + number.
    """
    for base in (1000, 256):
        fits = all(second in (first, first // base) for first, second in table)
        if fits and any(first >= base for first, _ in table):
            return True
    return False


def overlap(one: Kind, other: Kind) -> float:
    """Return the intersection over union of all pixels that are not 0, in 0..1."""
    table = add_counts(joint(one, other))
    union = sum(count for values, count in table.items() if any(values))
    return sum(count for values, count in table.items() if all(values)) / max(1, union)


def numbers_objects(per_mask: Sequence[set[int]], views: Callable[[], Sequence[View]]) -> bool:
    """Return whether values number the objects of each image, instead of naming classes.

    Then a value is nearly always one connected piece. Also, masks of more objects hold all values
    of those of fewer, or nearly every value is in one mask only, or higher values are rarer.

    Args:
        per_mask: values of every mask, without 0 and what is not labelled.
        views: reads some of the masks; called only where the values alone do not decide.
    """
    shown = [values for values in per_mask if values]
    if len(shown) < 3:
        return False
    masks_of = Counter(chain.from_iterable(shown))
    if not _is_chain(shown) and not _are_many(masks_of, len(shown)):
        return False
    return _in_one_piece(views()) >= ONE_PIECE


def _is_chain(shown: Sequence[set[int]]) -> bool:
    """Return whether every mask holds the values of those with fewer: 1, 2; 1, 2, 3; …"""
    rising = sorted(shown, key=len)
    lengths = {len(values) for values in shown}
    if len(lengths) < 3 or max(lengths) < SOME_NUMBERS:
        return False
    contained = sum(one <= other for one, other in pairwise(rising))
    return contained >= NEARLY_ALL * (len(rising) - 1)


def _are_many(masks_of: Counter[int], masks: int) -> bool:
    """Return whether there are many values, nearly each in one mask or the higher ones in fewer.

    Args:
        masks_of: value -> number of masks that hold it.
        masks: number of all masks.
    """
    if len(masks_of) < MANY_NUMBERS or masks_of.total() < 3 * masks:
        return False
    scattered = masks_of.total() < 1.5 * len(masks_of)
    return scattered or _fades(masks_of)


def _fades(masks_of: Counter[int]) -> bool:
    """Return whether fewer masks hold higher values, as fewer images have thirty objects."""
    values, counts = zip(*masks_of.items(), strict=True)
    return bool(len(set(counts)) > 1 and spearmanr(values, counts).statistic < FADING)


def _in_one_piece(views: Sequence[View]) -> float:
    """Return the share of (mask, value) whose pixels are connected, without 0 and 255."""
    pieces = []
    for each in views:
        values = set(np.unique(each.codes).tolist()) - {0, 255}
        pieces += [pieces_of(each.codes, value) for value in values]
    return pieces.count(1) / max(1, len(pieces))
