"""Risk against coverage, compared with sorting."""

import numpy as np
import pytest
import torch

from encoder_ablations.engine.evaluation.selective import RiskCoverage


def sorted_area(uncertainty, wrong):
    """The area by its definition, for uncertainties that are all different."""
    errors = np.cumsum(wrong[np.argsort(uncertainty)])
    return float((errors / np.arange(1, len(wrong) + 1)).mean())


def drawn(seed=0, count=3000):
    rng = np.random.default_rng(seed)
    uncertainty = rng.uniform(size=count) ** 2
    return uncertainty, rng.uniform(size=count) < 0.4 * uncertainty


def counted(uncertainty, wrong):
    return RiskCoverage.of(torch.from_numpy(uncertainty), torch.from_numpy(wrong))


def test_area_is_that_of_sorted_pixels():
    uncertainty, wrong = drawn()
    found = counted(uncertainty, wrong)
    assert found.error == pytest.approx(wrong.mean())
    assert found.area() == pytest.approx(sorted_area(uncertainty, wrong), abs=1e-3)
    assert found.ideal() < found.area() < found.error


def test_the_best_order_has_the_ideal_area():
    _, wrong = drawn()
    best = counted(wrong * 0.5 + np.linspace(0, 0.4, len(wrong)), wrong)
    assert best.area() == pytest.approx(best.ideal(), abs=1e-3)


def test_equal_uncertainties_say_nothing():
    """Then the risk is the error at every coverage."""
    _, wrong = drawn()
    found = counted(np.full(len(wrong), 0.3), wrong)
    assert found.area() == pytest.approx(wrong.mean())
    assert found.risk_at(np.array([0.1, 0.5, 1.0])) == pytest.approx([wrong.mean()] * 3)


def test_risk_falls_with_coverage():
    uncertainty, wrong = drawn()
    order = np.argsort(uncertainty)
    half = counted(uncertainty, wrong).risk_at(np.array([0.5, 1.0]))
    assert half == pytest.approx([wrong[order[: len(order) // 2]].mean(), wrong.mean()], abs=2e-3)


def test_parts_add_up_and_nothing_is_nothing():
    uncertainty, wrong = drawn()
    parts = counted(uncertainty[:10], wrong[:10]) + counted(uncertainty[10:], wrong[10:])
    assert parts.area() == counted(uncertainty, wrong).area()
    assert np.isnan(RiskCoverage.empty().area())
