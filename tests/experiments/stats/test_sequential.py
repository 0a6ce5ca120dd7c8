import math
from itertools import combinations

import numpy as np
import pytest
import scipy

from encoder_ablations.experiments.stats.seeds import holm, paired_difference
from encoder_ablations.experiments.stats.sequential import half_width_factor, p_under_looking

STUDIES, LAST = 20_000, 12
LOOKS = np.arange(3, LAST + 1)
FACTORS = np.array([half_width_factor(seeds, LAST) for seeds in LOOKS])
ORDINARY = scipy.special.stdtrit(LOOKS - 1, 0.975)
THREE_ERRORS = 3 * math.sqrt(0.05 * 0.95 / STUDIES)


def means_and_errors(true_mean=0.0):
    """Mean and its standard error at every look of every study, studies×looks."""
    values = np.random.default_rng(11).normal(true_mean, 1, (STUDIES, LAST))
    counts = np.arange(1, LAST + 1)
    means = values.cumsum(axis=1) / counts
    squares = (values**2).cumsum(axis=1) - counts * means**2
    return means[:, 2:], np.sqrt(squares[:, 2:] / (LOOKS - 1) / LOOKS)


def at_stop(stops, values):
    """The values at each study's first look that stops it, or at its last look."""
    stops = stops.copy()
    stops[:, -1] = True
    return np.take_along_axis(values, stops.argmax(axis=1)[:, None], axis=1)[:, 0]


def covered(factors, stop):
    means, errors = means_and_errors()
    stops = stop(means, errors * factors)
    return np.mean(np.abs(at_stop(stops, means)) <= at_stop(stops, errors * factors))


def separated(means, half_widths):
    return np.abs(means) > half_widths


@pytest.mark.parametrize("width", [1.0, 1.5, 2.5])
def test_coverage_where_seeds_are_added_until_the_interval_is_narrow(width):
    assert covered(FACTORS, lambda _, half: 2 * half <= width) >= 0.95 - THREE_ERRORS


def test_coverage_where_seeds_are_added_until_a_difference_shows():
    assert covered(FACTORS, separated) >= 0.95 - THREE_ERRORS
    assert covered(FACTORS, separated) <= 0.96, "wider than looking asks for"


def test_ordinary_intervals_do_not_survive_looking():
    assert covered(ORDINARY, separated) < 0.87


def test_p_and_interval_say_the_same():
    for seeds, factor in zip(LOOKS, FACTORS, strict=True):
        for size, claimed in [(factor * 1.001, True), (factor * 0.999, False)]:
            p = 2 * scipy.special.stdtr(seeds - 1, -size)
            assert (p_under_looking(p, seeds, LAST) <= 0.05) == claimed


def test_tiny_p_values_stay_tiny_and_none_exceeds_one():
    assert p_under_looking(1e-9, 4, LAST) == pytest.approx(1e-9 / 4 * 75)
    assert p_under_looking(0.99, 12, LAST) == 1
    assert math.isnan(p_under_looking(math.nan, 5, LAST))


def test_one_look_costs_what_the_simulation_may_err_and_no_more():
    assert half_width_factor(3, 3) == pytest.approx(ORDINARY[0], rel=0.03)
    assert half_width_factor(3, 3) >= ORDINARY[0]


def claims(rng, encoders):
    """Whether looking at equal encoders ever claims a difference: Holm over all pairs."""
    block = rng.normal(size=(encoders, LAST))
    for seeds in LOOKS:
        rows = [dict(enumerate(row[:seeds])) for row in block]
        found = [paired_difference(*pair).p for pair in combinations(rows, 2)]
        if min(holm([p_under_looking(p, seeds, LAST) for p in found])) < 0.05:
            return True
    return False


def test_false_claims_of_a_family_under_looking():
    rng = np.random.default_rng(3)
    found = np.mean([claims(rng, 4) for _ in range(400)])
    assert found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def mixture(t):
    """Looks at which a normal mixture over effect sizes (precision 0.3) claims a difference."""
    ratio, share = t**2 / (LOOKS - 1), 0.3 / (LOOKS + 0.3)
    evidence = np.sqrt(share) * ((1 + ratio) / (1 + ratio * share)) ** (LOOKS / 2)
    return evidence >= 20


def test_fewer_seeds_than_a_confidence_sequence_for_any_number():
    means, errors = means_and_errors(true_mean=1.5)
    counts = np.broadcast_to(LOOKS, means.shape)
    here = at_stop(separated(means, errors * FACTORS), counts).mean()
    sequence = at_stop(mixture(means / errors), counts).mean()
    assert here < sequence - 0.8
