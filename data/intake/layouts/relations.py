"""How two kinds of masks of the same images are related, and which masks number objects."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise, starmap

import numpy as np
import scipy

from encoder_ablations.data.intake.layouts.codes import add_counts, count_pixels
from encoder_ablations.data.intake.layouts.folder_names import words_of
from encoder_ablations.data.intake.layouts.regions import View, pieces_of
from encoder_ablations.utils.texts import first_names

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


@dataclass(eq=False)
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
        return Counter(chain.from_iterable(each.values for each in self.views.values()))

    @property
    def binary(self) -> bool:
        """Whether masks hold 0 and one other value, the same in all of them."""
        return not self.color and len(set(self.values) - {0}) <= 1

    @property
    def for_training(self) -> bool:
        """Whether the name says that the ids are those to train on, as in Cityscapes."""
        return "trainids" in self.name.lower()

    @cached_property
    def shows_objects(self) -> bool:
        """Whether masks number objects, as the name of the kind or the values say."""
        words = chain.from_iterable(map(words_of, self.name.lower().split("/")))
        views = list(self.views.values())
        per_mask = [each.numbers for each in views]
        return not OBJECT_WORDS.isdisjoint(words) or numbers_objects(per_mask, views)

    @property
    def rank(self) -> tuple[bool, bool, bool, str]:
        """What is lower for the better one of two kinds that show the same."""
        return not self.for_training, self.shows_objects, self.color, self.name

    def describe(self) -> str:
        """Return what the masks hold, in a few words."""
        if self.color:
            return f"{len(self.values)} colours"
        return f"values {first_names(sorted(self.values), 6)}"


Table = Counter[tuple[int, int]]


def reason_against(other: Kind, one: Kind) -> str:
    """Return why a kind is no mask of its own beside ``one``; empty where it may be."""
    tables = joint(other, one)
    if one.for_training > other.for_training:
        return "does not hold the ids that are trained on, as does"
    if not tables or one.shows_objects > other.shows_objects:
        return ""
    together = add_counts(tables)
    finer = all(map(tells, tables))
    coarser = tells(turned(together))
    # a value that means something else in every image is a number
    numbers = other.shows_objects or not tells(together)
    claims = {
        (True, True): ("shows the same as", other.rank > one.rank),
        (True, False): ("numbers the objects of", numbers),
        (False, True): ("shows in colours what is in", other.color > one.color),
    }
    reason, holds = claims.get((finer, coarser), ("", True))
    if not holds:
        return ""
    return reason


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


def overlap(one: Kind, other: Kind) -> float:
    """Return the intersection over union of all pixels that are not 0, in 0..1."""
    table = add_counts(joint(one, other))
    union = table.total() - table[0, 0]
    return sum(count for values, count in table.items() if all(values)) / max(1, union)


def numbers_objects(per_mask: Sequence[set[int]], views: Sequence[View]) -> bool:
    """Return whether values number the objects of each image, instead of naming classes.

    Then a value is nearly always one connected piece. Also, masks of more objects hold all values
    of those of fewer, or nearly every value is in one mask only, or higher values are rarer.

    Args:
        per_mask: values of every mask, without 0 and what is not labelled.
        views: some of the masks.
    """
    shown = [values for values in per_mask if values]
    masks_of = Counter(chain.from_iterable(shown))
    counted = _is_chain(shown) or _are_many(masks_of, len(shown))
    return len(shown) >= 3 and counted and _in_one_piece(views) >= ONE_PIECE


def _is_chain(shown: Sequence[set[int]]) -> bool:
    """Return whether every mask holds the values of those with fewer: 1, 2; 1, 2, 3."""
    rising = sorted(shown, key=len)
    lengths = {len(values) for values in shown}
    contained = sum(starmap(set.issubset, pairwise(rising)))
    complete = contained >= NEARLY_ALL * (len(rising) - 1)
    return complete and len(lengths) >= 3 and max(lengths) >= SOME_NUMBERS


def _are_many(masks_of: Counter[int], masks: int) -> bool:
    """Return whether there are many values, nearly each in one mask or the higher ones in fewer.

    Args:
        masks_of: value -> number of masks that hold it.
        masks: number of all masks.
    """
    if len(masks_of) < MANY_NUMBERS or masks_of.total() < 3 * masks:
        return False
    # fewer images have thirty objects than three
    scattered = masks_of.total() < 1.5 * len(masks_of)
    values, counts = zip(*masks_of.items(), strict=True)
    differ = len(set(counts)) > 1
    return scattered or (differ and bool(scipy.stats.spearmanr(values, counts).statistic < FADING))


def _in_one_piece(views: Sequence[View]) -> float:
    """Return the share of (mask, value) whose pixels are connected."""
    pieces: list[int] = []
    for each in views:
        pieces += [pieces_of(each.codes, value) for value in each.numbers]
    return pieces.count(1) / max(1, len(pieces))
