"""An audit that can fail: what an attacker learns stays below ε; broken steps are caught."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from privacy_audit import audited, epsilon_at_least, p_value
from scipy.stats import binom
from torch import nn

from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.private.gradients import ClippedSum
from encoder_ablations.engine.training.private.step import PrivateStep
from encoder_ablations.engine.training.steps import MicroBatch, StepSetup
from encoder_ablations.utils.seeding import numpy_stream

pytest.importorskip("opacus", reason="Opacus (the extra privacy) is not installed")

CANARIES, GUESSES, DELTA = 1000, 400, 1e-5


class Canaries(nn.Module):
    """Every image, one pixel with a number, pulls at a weight of its own: the worst case."""

    reads_features = False
    encoder = SimpleNamespace(batch_norm=None)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(CANARIES))

    def loss(self, images, masks, image_classes=None):
        """Its gradient has norm 30, far above the clip."""
        return {"pull": -30 * self.weight[int(images[0, 0, 0, 0])]}


def bound_and_claim(rate=1.0, steps=1, noise=1.0, step_type=PrivateStep):
    """Train on half of the canaries; return the audit's bound and the claimed ε."""
    planted = numpy_stream(0, "planted").random(CANARIES) < 0.5
    members = np.flatnonzero(planted)
    recipe = Recipe(
        steps=steps,
        batch_size=round(rate * len(members)),
        optimizer={"name": "sgd", "lr": 1.0, "weight_decay": 0.0, "clip_norm": None},
        privacy={"noise": noise, "clip": 1.0, "delta": DELTA, "accountant": "prv"},
        augmentation={"crop": [32, 32]},
    )
    model = Canaries()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    setup = StepSetup(model, optimizer, recipe, make_accelerator("cpu"))
    step = step_type(setup, seed=0, images=len(members))
    for number in range(steps):
        chosen = members[numpy_stream(1, "sample", number).random(len(members)) < rate]
        images = torch.tensor(chosen, dtype=torch.float32).view(-1, 1, 1, 1)
        step.take([MicroBatch(images, torch.zeros(len(chosen), 1, 1, dtype=torch.int64))], float)
    bound = audited(model.weight.detach().numpy(), planted, GUESSES, DELTA)
    return bound, step.privacy()["epsilon"]


@pytest.mark.parametrize(("rate", "steps"), [(1.0, 1), (0.25, 4)])
def test_the_attacker_learns_something_and_less_than_epsilon(rate, steps):
    bound, claimed = bound_and_claim(rate, steps)
    assert 0.2 < bound < claimed


class WithoutNoise(ClippedSum):
    def noised(self, noise, seed, step):
        return self.sums


class ClippedAfterwards(ClippedSum):
    """Clips the mean of the gradients, as ``clip_grad_norm_`` does."""

    def add(self, loss):
        (found,) = torch.autograd.grad(loss, self.parameters)
        self.sums[0].add_(found)

    def noised(self, noise, seed, step):
        self.sums[0].mul_(CANARIES / 2 * self.clip / self.sums[0].norm())
        return super().noised(noise, seed, step)


@pytest.mark.parametrize("broken", [WithoutNoise, ClippedAfterwards])
def test_a_broken_step_is_caught(broken, monkeypatch):
    monkeypatch.setattr(f"{PrivateStep.__module__}.ClippedSum", broken)
    bound, claimed = bound_and_claim()
    assert bound > claimed


def test_a_quarter_of_the_noise_is_caught(monkeypatch):
    """Not at every setting: the audit has power where the noise is little."""
    honest = ClippedSum.noised
    monkeypatch.setattr(
        ClippedSum, "noised", lambda self, noise, *place: honest(self, noise / 4, *place)
    )
    bound, claimed = bound_and_claim(noise=1.5)
    assert bound > claimed


def test_the_bound_without_delta_is_that_of_randomised_response():
    assert p_value(100, 100, 75, 1.0, 0.0) == pytest.approx(binom.sf(74, 100, 1 / (1 + np.exp(-1))))
    assert epsilon_at_least(100, 100, 50, 0.0) == 0
    assert epsilon_at_least(100, 100, 75, 1e-5) <= epsilon_at_least(100, 100, 75, 0.0)
    # all of n right: e^ε / (1 + e^ε) to the n-th power is 5 %
    share = 0.05 ** (1 / 200)
    assert epsilon_at_least(200, 200, 200, 0.0) == pytest.approx(
        np.log(share / (1 - share)), abs=2e-3
    )
