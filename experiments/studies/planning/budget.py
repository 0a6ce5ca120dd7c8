"""What fits into a budget of time, and what is lost by it."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.stats.power import difference_shown
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.experiments.studies.planning.estimates import Known
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import duration, plural

UNITS = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}
Plan = Callable[[list[float], list[int]], list[RunSpec] | None]
"""Returns the runs of a study with other fractions and seeds; None if there is no such study."""


@dataclass(frozen=True)
class Proposal:
    """A smaller study.

    Attributes:
        change: what to write behind ``ablate run STUDY``.
        seconds: that it takes.
        lost: what it no longer says, in a sentence.
    """

    change: str
    seconds: float
    lost: str


def read_budget(text: str) -> float:
    """Return the seconds of a time such as "8h", "90min" or "1h 30min".

    Raises:
        InputError: it is no time, or none at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)", text)
    rest = re.sub(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)", "", text).strip()
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if rest or not seconds:
        raise InputError(
            f"--budget {text}: a time is a number with d, h, min or s, for example 8h or 1h30min."
        )
    return seconds


def total(specs: Sequence[RunSpec], known: Known) -> float:
    """Return the seconds of all runs whose time is known."""
    return sum(known.seconds(spec) or 0.0 for spec in specs)


def _total_of(specs: Sequence[RunSpec] | None, known: Known) -> float:
    """Return the seconds of a smaller study; infinite if there is no such study."""
    if specs is None:
        return math.inf
    return total(specs, known)


def refuse_small(budget: float, specs: Sequence[RunSpec], known: Known) -> None:
    """Refuse a budget in which no run ends.

    Raises:
        InputError: it is smaller than the shortest run.
    """
    seconds = [known.seconds(spec) for spec in specs]
    shortest = min((each for each in seconds if each is not None), default=0.0)
    if budget < shortest:
        raise InputError(
            f"--budget {duration(budget)} is less than one run takes (about "
            f"{duration(shortest)}). Give more time, or fewer steps (recipe.steps=…)."
        )


def proposals(
    specs: Sequence[RunSpec], known: Known, budget: float, comparisons: int, plan: Plan
) -> list[Proposal]:
    """Return smaller studies that fit into the budget: with fewer seeds, fractions, or steps.

    If no one change is enough, all three are made: 3 seeds, the largest fraction, fewer steps.

    Args:
        specs: all runs of the study.
        known: what they take.
        budget: seconds.
        comparisons: pairs of encoders that are tested together.
        plan: returns the runs for other fractions and seeds.
    """
    seeds, fractions = _axes(specs)
    found = [
        *_first_fitting(_fewer_seeds(seeds, fractions, known, comparisons, plan), budget),
        *_first_fitting(_fewer_fractions(seeds, fractions, known, plan), budget),
        *_first_fitting(_fewer_steps(specs, known), budget),
    ]
    if found:
        return found
    return _first_fitting(_smallest(seeds, fractions, known, plan), budget)


def smallest_form(specs: Sequence[RunSpec], known: Known, plan: Plan) -> Proposal | None:
    """Return the smallest study that is proposed for any budget; None if there is none.

    Args:
        specs: all runs of the study.
        known: what they take.
        plan: returns the runs for other fractions and seeds.
    """
    forms = _smallest(*_axes(specs), known, plan)
    return min(forms, key=lambda form: form.seconds, default=None)


def _axes(specs: Sequence[RunSpec]) -> tuple[list[int], list[float]]:
    """Return the seeds of a study, without those of trials, and its fractions."""
    seeds = {spec.seed for spec in specs if not spec.is_trial}
    return sorted(seeds), sorted({spec.fraction for spec in specs})


def proposal_lines(
    budget: float, needed: float, found: Sequence[Proposal], smallest: Proposal | None = None
) -> list[str]:
    """Return what fits into a budget, and what is lost.

    Args:
        budget: seconds.
        needed: seconds of what is left of the study.
        found: smaller studies that fit.
        smallest: the smallest study that there is, for the case that none fits.
    """
    limit = f"budget {duration(budget)}"
    if needed <= budget:
        return [f"{limit}: everything fits (about {duration(needed)})"]
    short = f"{limit}: about {duration(needed)} are needed."
    if not found:
        line = f"{short} No smaller form of this study fits"
        if smallest is None:
            return [f"{line}."]
        return [
            f"{line}: the smallest, {smallest.change}, takes about {duration(smallest.seconds)}."
        ]
    changes = [f"  {each.change}: about {duration(each.seconds)}; {each.lost}" for each in found]
    return [f"{short} What fits:", *changes]


def _first_fitting(candidates: Iterable[Proposal], budget: float) -> list[Proposal]:
    """Return the first study that fits, in a list; an empty one if none does."""
    fitting = (each for each in candidates if each.seconds <= budget)
    return list(islice(fitting, 1))


def _smallest(
    seeds: list[int], fractions: list[float], known: Known, plan: Plan
) -> Iterator[Proposal]:
    """Yield studies of 3 seeds and the largest fraction, with fewer and fewer steps."""
    kept, largest = seeds[:ENOUGH], fractions[-1:]
    specs = plan(largest, kept)
    if not specs:
        return
    together = f"'seeds={_listed(kept)}' 'fractions={_listed(largest)}'"
    lost = f"there are {plural(len(kept), 'seed')} and no label curve"
    yield Proposal(together, total(specs, known), lost)
    for each in _fewer_steps(specs, known):
        yield Proposal(f"{together} {each.change}", each.seconds, f"{lost}; {each.lost}")


def _fewer_seeds(
    seeds: list[int], fractions: list[float], known: Known, comparisons: int, plan: Plan
) -> Iterator[Proposal]:
    """Yield studies with one seed less each time."""
    for count in range(len(seeds) - 1, 0, -1):
        kept = seeds[:count]
        seconds = _total_of(plan(fractions, kept), known)
        lost = seeds_lost(count, len(seeds), comparisons)
        yield Proposal(f"'seeds={_listed(kept)}'", seconds, lost)


def seeds_lost(count: int, before: int, comparisons: int) -> str:
    """Return what fewer seeds no longer show."""
    if count < ENOUGH:
        return f"with {plural(count, 'seed')} there are no intervals and no claims"
    factor = difference_shown(1, count, comparisons) / difference_shown(1, before, comparisons)
    return (
        f"a difference must be {factor:.1f} times as large to be shown as with "
        f"{plural(before, 'seed')}"
    )


def _fewer_fractions(
    seeds: list[int], fractions: list[float], known: Known, plan: Plan
) -> Iterator[Proposal]:
    """Yield studies without the second smallest fraction, the third, and so on.

    The ends of the label curve say most; of these the largest stays last.
    """
    kept = list(fractions)
    while len(kept) > 1:
        kept.pop(min(1, len(kept) - 2))
        seconds = _total_of(plan(kept, seeds), known)
        gone = [f"{100 * each:g} %" for each in fractions if each not in kept]
        lost = f"the label curve has no point at {', '.join(gone)}"
        yield Proposal(f"'fractions={_listed(kept)}'", seconds, lost)


def _fewer_steps(specs: Sequence[RunSpec], known: Known) -> Iterator[Proposal]:
    """Yield studies with 95 % of the steps, 90 %, and so on."""
    steps = max(spec.recipe.steps for spec in specs)
    for percent in range(95, 0, -5):
        fewer = math.floor(steps * percent / 100)
        shorter = [_shortened(spec, percent) for spec in specs]
        lost = (
            f"training ends after {fewer} of {steps} steps ({100 * fewer / steps:.0f} %); encoders "
            "that learn slowly look worse than they are"
        )
        if fewer:
            yield Proposal(f"recipe.steps={fewer}", total(shorter, known), lost)


def _shortened(spec: RunSpec, percent: int) -> RunSpec:
    recipe = spec.recipe.model_copy(update={"steps": spec.recipe.steps * percent // 100})
    return spec.model_copy(update={"recipe": recipe})


def _listed(values: Sequence[float]) -> str:
    return "[" + ",".join(f"{value:g}" for value in values) + "]"
