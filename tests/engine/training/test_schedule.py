"""Learning rates by step, against PyTorch's own schedulers."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from encoder_ablations.engine.recipe import Recipe, ScheduleSpec
from encoder_ablations.engine.training.schedule import rate_factor
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

STEPS = 100


def ours(steps=STEPS, **settings):
    spec = ScheduleSpec(**settings)
    return [rate_factor(step, steps, spec) for step in range(steps)]


def theirs(make, steps=STEPS):
    """Return the rates of a scheduler over a rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_schedules():
    for decay, middle in {"poly": 0.5**0.9, "cosine": 0.5, "linear": 0.5, "constant": 1.0}.items():
        spec = ScheduleSpec(decay=decay)
        assert rate_factor(0, 100, spec) == 1
        assert rate_factor(50, 100, spec) == pytest.approx(middle)
    warm = ScheduleSpec(decay="poly", warmup_steps=9)
    assert [rate_factor(step, 100, warm) for step in (0, 4, 8)] == pytest.approx([0.1, 0.5, 0.9])
    assert rate_factor(9, 100, warm) == 1
    values = [rate_factor(step, 100, warm) for step in range(9, 100)]
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 0.03
    assert math.isclose(values[-1], (1 / 91) ** 0.9)


@pytest.mark.parametrize("steps", [10, 100, 997])
@pytest.mark.parametrize("rise", [0.3, 0.25, 0.71])
def test_one_cycle_is_pytorchs(steps, rise):
    expected = theirs(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, 1.0, steps, pct_start=rise, cycle_momentum=False
        ),
        steps,
    )
    # PyTorch ends at 1/10⁴ of where it begins, which is 1/25
    found = ours(steps, decay="one_cycle", rise=rise, min_factor=0.04 / 1e4)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        (
            {"decay": "cosine", "min_factor": 0.1},
            lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS, eta_min=0.1),
        ),
        (
            {"decay": "poly", "power": 2.0},
            lambda optimizer: lr_scheduler.PolynomialLR(optimizer, STEPS, power=2.0),
        ),
        (
            {"decay": "linear", "min_factor": 0.1},
            lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.1, STEPS),
        ),
        (
            {"decay": "step", "milestones": [0.6, 0.9], "factor": 0.2},
            lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [60, 90], gamma=0.2),
        ),
    ],
    ids=lambda value: value.get("decay", "") if isinstance(value, dict) else "",
)
def test_decays_are_pytorchs(settings, make):
    assert ours(**settings) == pytest.approx(theirs(make), rel=1e-9)


def test_the_floor_holds_and_the_default_has_none():
    assert min(ours(decay="step", milestones=[0.2, 0.4], factor=0.1, min_factor=0.05)) == 0.05
    assert ours(decay="constant", min_factor=0.5) == [1.0] * STEPS
    assert ours(decay="poly") == [(1 - step / STEPS) ** 0.9 for step in range(STEPS)]
    warm = ours(decay="step", milestones=[0.5], warmup_steps=20)
    assert warm.index(0.1) == 20 + 80 // 2


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({"decay": "one_cycle", "rise": 1.0}, "less than 1"),
        ({"decay": "one_cycle", "rise": 0.01}, "rise 0.01 of 50 steps"),
        ({"decay": "one_cycle", "rise": 0.99}, "rise 0.99 of 50 steps"),
        ({"decay": "one_cycle", "start_factor": 1.5}, "less than 1"),
        ({"decay": "one_cycle", "warmup_steps": 5}, "own rise"),
        ({"decay": "step"}, "milestones"),
        ({"decay": "cosine", "milestones": [0.5]}, "milestones"),
        ({"decay": "step", "milestones": [0.9, 0.5]}, "rise"),
        ({"warmup_steps": 50}, "less than steps 50"),
    ],
    ids=str,
)
def test_impossible_schedules(schedule, words):
    with pytest.raises(InputError, match=words) as error:
        build(Recipe, {"steps": 50, "schedule": schedule}, "x")
    assert "\n" not in str(error.value)
