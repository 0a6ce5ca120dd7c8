"""How the server combines the models of clients: arithmetic on tensors by name.

Sums run in float64 over the clients in the order of their numbers, so that the order in which the
clients were computed changes no bit. Everything lies on the CPU.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from encoder_ablations.engine.training.federated.spec import (
    Algorithm,
    FedAdam,
    FedAvgM,
)

State = dict[str, Tensor]
"""Tensors of a model by name, on the CPU."""


def weighted_mean(states: Mapping[int, State], images: Mapping[int, int]) -> State:
    """Return the mean of the clients' tensors, weighted by their images.

    Counters, which are whole numbers, become the largest of the clients'.

    Args:
        states: client -> its tensors; the same names and shapes for all, at least one client.
        images: client -> how many images it has.
    """
    clients = sorted(states)
    total = sum(images[client] for client in clients)
    found = {}
    for name, first in states[clients[0]].items():
        if not first.is_floating_point():
            found[name] = torch.stack([states[each][name] for each in clients]).amax(0)
            continue
        mean = torch.zeros(first.shape, dtype=torch.float64)
        for client in clients:
            # of one client the weight is 1, which leaves every bit as it is
            mean += states[client][name].double() * (images[client] / total)
        found[name] = mean.to(first.dtype)
    return found


class Server(ABC):
    """Makes the next global model from the present one and the clients' mean.

    Only parameters that learn are stepped. Anything else that travels, such as BatchNorm's
    statistics, becomes the clients' mean.
    """

    def update(self, present: State, mean: State, learnt: Collection[str]) -> State:
        """Return the next global model.

        Args:
            present: the global model that the round began with.
            mean: of the clients' models after the round.
            learnt: names of the parameters that learn.
        """
        following = dict(mean)
        for name in sorted(learnt):
            stepped = self.step(name, present[name].double(), mean[name].double())
            following[name] = stepped.to(mean[name].dtype)
        return following

    @abstractmethod
    def step(self, name: str, present: Tensor, mean: Tensor) -> Tensor:
        """Return the next value of a parameter, from its present one and the clients' mean.

        All are float64.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the next round depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned.

        Raises:
            ValueError: there is a state, but this kind of server has none.
        """
        if state:
            raise ValueError(f"{type(self).__name__} has no state, but is given {sorted(state)}")


class MeanServer(Server):
    """FedAvg and FedProx: the clients' mean is the next global model."""

    def step(self, name: str, present: Tensor, mean: Tensor) -> Tensor:
        """See :class:`Server`."""
        return mean


class MomentumServer(Server):
    """FedAvgM (Hsu, Qi & Brown, arXiv:1909.06335).

    ``v ← β v + Δ`` with ``Δ`` = mean - present, then ``present + lr · v``.
    """

    def __init__(self, spec: FedAvgM) -> None:
        self.spec = spec
        self.velocity: State = {}

    def step(self, name: str, present: Tensor, mean: Tensor) -> Tensor:
        """See :class:`Server`."""
        rate = self.spec.lr
        kept = self.spec.momentum * self.velocity.get(name, torch.zeros_like(mean))
        self.velocity[name] = kept + (mean - present)
        # present + lr · (kept + mean - present), so arranged that lr 1 without momentum gives the
        # mean to the bit
        return (1 - rate) * present + rate * (mean + kept)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Server`."""
        return {"velocity": self.velocity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Server`."""
        self.velocity = dict(state["velocity"])


class AdamServer(Server):
    """FedAdam (Reddi et al., ICLR 2021, algorithm 2), without correction of the first means."""

    def __init__(self, spec: FedAdam) -> None:
        self.spec = spec
        self.first: State = {}
        self.second: State = {}

    def step(self, name: str, present: Tensor, mean: Tensor) -> Tensor:
        """See :class:`Server`."""
        beta1, beta2 = self.spec.betas
        tau = self.spec.tau
        change = mean - present
        first = self.first.get(name, torch.zeros_like(mean))
        # the paper asks for a first mean square of at least τ²
        second = self.second.get(name, torch.full_like(mean, tau**2))
        self.first[name] = beta1 * first + (1 - beta1) * change
        self.second[name] = beta2 * second + (1 - beta2) * change**2
        return present + self.spec.lr * self.first[name] / (self.second[name].sqrt() + tau)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Server`."""
        return {"first": self.first, "second": self.second}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Server`."""
        self.first, self.second = dict(state["first"]), dict(state["second"])


def make_server(algorithm: Algorithm) -> Server:
    """Return the server of an algorithm."""
    if isinstance(algorithm, FedAvgM):
        return MomentumServer(algorithm)
    if isinstance(algorithm, FedAdam):
        return AdamServer(algorithm)
    return MeanServer()
