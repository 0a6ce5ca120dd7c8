"""Name the pairs whose content stands out against the others of their dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from encoder_ablations.data.checks.content.appearance import Relabelling, relabellings
from encoder_ablations.data.checks.content.edges import EdgeFit
from encoder_ablations.data.checks.content.measures import PairContent

NORMAL = NormalDist()
FEWEST = 20
"""Pairs that are needed: what is usual cannot be said of fewer."""
CLEAR = 1.5
"""If masks fit so many times as well in their place as elsewhere, edges decide by themselves."""
SIDES, ENDS = ("left", "right"), ("up", "down")
RELABELLED = 0.3
"""Other names of the classes have to make a mask e^0.3 times as probable per pixel."""


@dataclass(frozen=True)
class Suspicion:
    """A pair that stands out.

    Attributes:
        index: its number in the list of pairs.
        code: the rule.
        detail: what was measured, and what is usual.
    """

    index: int
    code: str
    detail: str


@dataclass(frozen=True)
class _Limit:
    """When a number of `Quality` stands out.

    Attributes:
        name: the number.
        what: it, in words.
        code: the rule.
        sign: +1 if high values are suspicious, -1 if low ones are.
        deviations: robust standard deviations from the median that are still usual.
        distance: from the median that is usual in any case, in the number's own unit.
    """

    name: str
    what: str
    code: str
    sign: int
    deviations: float
    distance: float


LIMITS = (
    _Limit("sharpness", "sharpness (logarithm)", "image-blurred", -1, 5, 2.5),
    _Limit("noise", "noise (logarithm)", "image-noisy", 1, 6, 1.0),
    _Limit("flat", "share of one colour", "image-flat", 1, 6, 0.25),
    _Limit("specks", "pixels in specks (logarithm)", "mask-specks", 1, 3.5, 2.5),
    _Limit("blocks", "share of edges on a grid", "mask-blocks", 1, 6, 0.2),
    _Limit("gap", "share without a label", "mask-gap", 1, 6, 0.1),
)


def suspicions(pairs: Sequence[PairContent], classes: Sequence[str]) -> Iterator[Suspicion]:
    """Compare pairs; ``classes`` are the names in the order of the ids."""
    if len(pairs) < FEWEST:
        return
    yield from _misplaced([each.edges for each in pairs])
    renamed = relabellings([each.thumbnail for each in pairs], len(classes))
    for index, each in enumerate(renamed):
        if each.gain >= RELABELLED:
            yield Suspicion(index, "mask-classes", _about_names(each, classes))
    for limit in LIMITS:
        yield from _beyond(limit, pairs)


def usual(values: np.ndarray) -> tuple[float, float]:
    """Return median and robust standard deviation (1.4826 times the median deviation)."""
    median = float(np.median(values))
    return median, 1.4826 * float(np.median(np.abs(values - median)))


def _misplaced(fits: list[EdgeFit | None]) -> Iterator[Suspicion]:
    """Masks that fit better elsewhere, mirrored or upside down."""
    known = {index: fit for index, fit in enumerate(fits) if fit is not None}
    if len(known) < FEWEST:
        return
    here = float(np.median([fit.here for fit in known.values()]))
    least = _least_gain(here, np.array([fit.gain for fit in known.values()]))
    for index, fit in known.items():
        if fit.gain > least:
            yield Suspicion(index, "mask-misplaced", _about_place(fit, here))


def _least_gain(here: float, gains: np.ndarray) -> float:
    """Return the gain from which on a mask is suspicious.

    Args:
        here: the usual fit of a mask in its place.
        gains: how much better each mask fits elsewhere.
    """
    median, high = map(float, np.quantile(gains, [0.5, NORMAL.cdf(1)]))
    elsewhere = here + median
    if here > CLEAR * elsewhere:
        return 0.05 * here
    # edges say little, as with one class on busy images: masks fit elsewhere by chance. The limit
    # is exceeded by 0.5 % of a normal distribution with this upper half.
    return max(0.0, median + NORMAL.inv_cdf(0.995) * (high - median))


def _about_place(fit: EdgeFit, usual_fit: float) -> str:
    right, down = fit.move
    across = f"{abs(right)} px {SIDES[right > 0]}"
    along = f"{abs(down)} px {ENDS[down > 0]}"
    places = {
        f"moved {across} and {along}": fit.elsewhere,
        "mirrored": fit.mirrored,
        "upside down": fit.upside_down,
    }
    best = max(places, key=lambda place: places[place])
    detail = f"edges fit by {fit.here:.1f} here, {places[best]:.1f} {best}"
    if places[best] < usual_fit / 2:
        detail += ", nowhere well: is it the mask of another image?"
    return f"{detail} ({usual_fit:.1f} is usual)"


def _about_names(each: Relabelling, classes: Sequence[str]) -> str:
    changes = [f"{classes[old]} looks like {classes[new]}" for old, new in each.names.items()]
    return ", ".join(changes)


def _beyond(limit: _Limit, pairs: Sequence[PairContent]) -> Iterator[Suspicion]:
    """Pairs of which one number stands out."""
    values = np.array([getattr(each.quality, limit.name) for each in pairs])
    median, deviation = usual(values)
    distances = limit.sign * (values - median)
    for index in np.flatnonzero(distances > max(limit.deviations * deviation, limit.distance)):
        detail = f"{limit.what}: {values[index]:.2f}; {median:.2f} is usual"
        yield Suspicion(int(index), limit.code, detail)
