"""The server's arithmetic against its formulas."""

import numpy as np
import pytest
import torch

from encoder_ablations.engine.training.federated.aggregation import make_server, weighted_mean
from encoder_ablations.engine.training.federated.spec import FedAdam, FedAvg, FedAvgM, FedProx

RNG = np.random.default_rng(0)
ROUNDS = [RNG.normal(size=(3, 5)).astype(np.float32) for _ in range(4)]
IMAGES = {0: 5, 1: 2, 2: 9}


def mean_of(values):
    states = {client: {"w": torch.from_numpy(value)} for client, value in enumerate(values)}
    return weighted_mean(states, IMAGES)


def models(spec, start):
    """Return the global model after each round, whatever the clients have sent."""
    server, present, found = make_server(spec), {"w": torch.from_numpy(start)}, []
    for values in ROUNDS:
        present = server.update(present, mean_of(values), {"w"})
        found.append(present["w"])
    return found


def test_mean_is_weighted_by_images_whatever_the_order():
    states = {client: {"w": torch.from_numpy(value)} for client, value in enumerate(ROUNDS[0])}
    expected = np.average(ROUNDS[0].astype(float), axis=0, weights=[5, 2, 9])
    found = weighted_mean(states, IMAGES)["w"]
    assert found.dtype == torch.float32
    assert np.allclose(found.numpy(), expected, rtol=1e-6)
    turned = weighted_mean({client: states[client] for client in (2, 0, 1)}, IMAGES)["w"]
    assert torch.equal(turned, found)


def test_mean_of_one_client_keeps_every_bit_and_counters_are_the_largest():
    state = {"w": torch.tensor([1e-38, -0.1, 3e38]), "n": torch.tensor(7)}
    found = weighted_mean({4: state}, {4: 3})
    assert torch.equal(found["w"], state["w"])
    two = weighted_mean({0: state, 1: {"w": state["w"], "n": torch.tensor(9)}}, {0: 1, 1: 1})
    assert two["n"] == 9


def test_fedavgm_without_momentum_is_fedavg():
    plain, still = (
        models(FedAvg(), ROUNDS[1][0]),
        models(FedAvgM(kind="fedavgm", momentum=0, lr=1), ROUNDS[1][0]),
    )
    assert all(torch.equal(one, other) for one, other in zip(plain, still, strict=True))
    prox = models(FedProx(kind="fedprox", mu=1), ROUNDS[1][0])
    assert all(torch.equal(one, other) for one, other in zip(plain, prox, strict=True))


def test_fedavgm_is_its_formula():
    present, velocity = ROUNDS[1][0].astype(float), 0.0
    found = models(FedAvgM(kind="fedavgm", momentum=0.8, lr=0.5), ROUNDS[1][0])
    for values, model in zip(ROUNDS, found, strict=True):
        change = np.average(values.astype(float), axis=0, weights=[5, 2, 9]) - present
        velocity = 0.8 * velocity + change
        present = present + 0.5 * velocity
        assert np.allclose(model.numpy(), present, rtol=1e-5, atol=1e-6)


def test_fedadam_is_its_formula():
    present, tau = ROUNDS[1][0].astype(float), 0.01
    first, second = np.zeros(5), np.full(5, tau**2)
    spec = FedAdam(kind="fedadam", lr=0.1, betas=(0.7, 0.95), tau=tau)
    for values, model in zip(ROUNDS, models(spec, ROUNDS[1][0]), strict=True):
        change = np.average(values.astype(float), axis=0, weights=[5, 2, 9]) - present
        first = 0.7 * first + 0.3 * change
        second = 0.95 * second + 0.05 * change**2
        present = present + 0.1 * first / (np.sqrt(second) + tau)
        assert np.allclose(model.numpy(), present, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spec", [FedAvgM(kind="fedavgm"), FedAdam(kind="fedadam")], ids=str)
def test_statistics_are_averaged_and_not_stepped(spec):
    state = {"w": torch.tensor([1.0]), "norm.running_var": torch.tensor([2.0])}
    mean = {"w": torch.tensor([3.0]), "norm.running_var": torch.tensor([5.0])}
    server = make_server(spec)
    server.update(state, mean, {"w"})
    assert server.update(state, mean, {"w"})["norm.running_var"] == 5
