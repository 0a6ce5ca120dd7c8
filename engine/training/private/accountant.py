"""What private training has spent, by Opacus' accountants."""

import warnings
from functools import lru_cache
from typing import NamedTuple

from encoder_ablations.engine.privacy import PrivacySpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing

LEAST_NOISE, MOST_NOISE = 0.3, 1000.0
"""With less noise the accountants take minutes, and ε is in the hundreds."""
PRECISION = 1e-3
"""Relative width at which the search for the noise ends."""


class Steps(NamedTuple):
    """Optimiser steps that are alike.

    Attributes:
        noise: standard deviation of the noise on the sum of gradients, in units of the clip.
        rate: probability with which each image is in the sample of a step, 0..1. In a federation
            that protects clients it is that of each client, and the steps are rounds.
        taken: how many steps.
    """

    noise: float
    rate: float
    taken: int


def epsilon_of(steps: Steps, delta: float, accountant: str) -> float:
    """Return the ε of some steps at ``delta``; 0 before the first one.

    Neighbouring datasets differ in one image (or client), which is added or removed.

    Args:
        steps: those that were taken.
        delta: 0..1.
        accountant: "prv", "rdp" or "gdp".

    Raises:
        InputError: Opacus is not installed.
    """
    if not steps.taken:
        return 0.0
    return _epsilon(steps, delta, accountant)


@lru_cache(maxsize=1024)
def _epsilon(steps: Steps, delta: float, accountant: str) -> float:
    try:
        from opacus.accountants import create_accountant
    except ImportError as error:
        raise missing("opacus", error) from error
    with warnings.catch_warnings():
        # that "gdp" may say too little stands in the record
        warnings.simplefilter("ignore")
        account = create_accountant(mechanism=accountant)
        account.history = [tuple(steps)]
        return float(account.get_epsilon(delta))


def noise_for(spec: PrivacySpec, rate: float, count: int, where: str = "recipe.privacy") -> float:
    """Return the noise of a training: as given, or the least that keeps ``epsilon``.

    Args:
        spec: gives one of ``noise`` and ``epsilon``.
        rate: probability with which each image, or client, is in the sample of a step.
        count: steps of the whole training, or rounds.
        where: the setting, for the message.

    Raises:
        InputError: no noise is enough, or Opacus is not installed.
    """
    if spec.noise is not None:
        return spec.noise
    assert spec.epsilon is not None  # one of them is given
    target = spec.epsilon

    def is_enough(noise: float) -> bool:
        return epsilon_of(Steps(noise, rate, count), spec.delta, spec.accountant) <= target

    # some noise that is enough, and half of it that is not
    high = 1.0
    while not is_enough(high):
        high *= 2
        if high > MOST_NOISE:
            raise InputError(
                f"{where}: no noise keeps epsilon {target:g} at delta {spec.delta:g} by the "
                f"accountant {spec.accountant} in {count} steps. Allow a larger epsilon, or take "
                "fewer steps."
            )
    low = high / 2
    while low > LEAST_NOISE and is_enough(low):
        high, low = low, low / 2
    # the accountants take minutes for less
    low = max(low, LEAST_NOISE)
    # bisection: ``high`` is always enough
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        if is_enough(middle):
            high = middle
        else:
            low = middle
    return high
