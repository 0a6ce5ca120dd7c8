"""The trials: combinations of values, drawn so that they are the same for every encoder."""

import math
from collections.abc import Iterable
from itertools import product

import numpy as np
from pydantic import JsonValue

from encoder_ablations.experiments.runs.tuning.spec import (
    DIGITS,
    Chosen,
    Range,
    Settings,
    TuneSpec,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import derive, numpy_stream

MOST_POINTS = 2**16
"""How many points are drawn in search of trials that are not alike."""


def listed_trials(tune: TuneSpec) -> list[Chosen]:
    """Return the trials that are known before any result, without two alike.

    That is all of them, but for ``search: tpe``, which chooses later trials by earlier results.

    Raises:
        InputError: the ranges do not hold as many different numbers.
    """
    if tune.search == "grid":
        return _grid(tune)
    if tune.search == "tpe":
        return drawn_trials(tune, first_trials(tune))
    return drawn_trials(tune, tune.number)


def first_trials(tune: TuneSpec) -> int:
    """Return how many trials of TPE are drawn without regard to results: a third, 2 at least."""
    return min(tune.number, max(2, tune.number // 3))


def drawn_trials(tune: TuneSpec, count: int) -> list[Chosen]:
    """Return ``count`` different trials; those of a smaller count are the first of them.

    Raises:
        InputError: the ranges do not hold as many different numbers.
    """
    drawn = count
    while drawn <= max(MOST_POINTS, count):
        trials = [_trial(tune.settings, point) for point in _points(tune, drawn).tolist()]
        different = list({repr(trial): trial for trial in trials}.values())
        if len(different) >= count:
            return different[:count]
        drawn *= 2
    raise InputError(
        f"tune: the values of {', '.join(tune.settings)} give fewer than {count} different "
        f"trials with {DIGITS} digits. Widen the ranges, or ask for fewer trials."
    )


def _grid(tune: TuneSpec) -> list[Chosen]:
    """Return the combinations of all lists; of more than are wanted, a random choice in order."""
    lists = [values for values in tune.settings.values() if not isinstance(values, Range)]
    found = [dict(zip(tune.settings, values, strict=True)) for values in product(*lists)]
    if tune.number == len(found):
        return found
    rng = numpy_stream(tune.seed, "tuning", "grid")
    return [found[place] for place in sorted(rng.permutation(len(found))[: tune.number])]


def _points(tune: TuneSpec, count: int) -> np.ndarray:
    """Return count×settings points of the unit cube; fewer points are the first of more."""
    size = len(tune.settings)
    if tune.search == "random":
        return numpy_stream(tune.seed, "tuning", "random").random((count, size))
    # not above: it takes a second
    from scipy.stats import qmc

    sobol = qmc.Sobol(size, seed=np.random.default_rng(derive(tune.seed, "tuning", "sobol")))
    # a power of 2 keeps the balance of the points (Owen, MCQMC 2020)
    points: np.ndarray = sobol.random_base2(math.ceil(math.log2(count)))
    return points[:count]


def _trial(settings: Settings, point: Iterable[float]) -> Chosen:
    """Return the values at a point of the unit cube."""
    pairs = zip(settings.items(), point, strict=True)
    return {name: _value(values, share) for (name, values), share in pairs}


def _value(values: Range | list[JsonValue], share: float) -> JsonValue:
    if isinstance(values, Range):
        return values.at(share)
    return values[min(int(share * len(values)), len(values) - 1)]
