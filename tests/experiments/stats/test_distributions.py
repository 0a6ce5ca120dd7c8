import numpy as np
import pytest
import scipy

from encoder_ablations.experiments.stats.distributions import (
    chi_square_quantiles,
    studentized_range_quantile,
)


@pytest.mark.parametrize("freedom", [1, 2.5, 199])
def test_chi_square_is_that_of_scipy(freedom):
    shares = np.array([0.0, 0.001, 0.0125, 0.5, 0.9875, 1.0])
    assert (chi_square_quantiles(shares, freedom) == scipy.stats.chi2.ppf(shares, freedom)).all()


@pytest.mark.parametrize(
    ("share", "groups", "freedom"),
    [
        (0.975, 2, 1),
        (0.975, 2, 18),
        (0.5, 3, 2),
        (0.99, 3, 4),
        (0.975, 20, 171),
        (0.95, 100, 99),
        (0.975, 200, 398),
    ],
)
def test_the_studentized_range_is_that_of_scipy(share, groups, freedom):
    expected = scipy.stats.studentized_range.ppf(share, groups, freedom)
    assert studentized_range_quantile(share, groups, freedom) == pytest.approx(expected, rel=1e-10)
