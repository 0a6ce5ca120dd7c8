"""The clients of a federated training, and how one of them takes its steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from encoder_ablations.data.loading.items import Batch
from encoder_ablations.engine.training.federated.aggregation import State
from encoder_ablations.engine.training.federated.spec import FederationSpec, FedProx
from encoder_ablations.engine.training.steps import PlainStep, Step, StepSetup
from encoder_ablations.utils.seeding import derive, numpy_stream


@dataclass(frozen=True)
class Client:
    """One client.

    Attributes:
        number: counted from 0.
        images: how many training images it has: its weight in the mean.
        seed: of its data order, its augmentation and its steps.
        batches: yields the micro-batches of each of its steps, from a step to another.
    """

    number: int
    images: int
    seed: int
    batches: Callable[[int, int], Iterator[list[Batch]]]


def client_seeds(clients: int, seed: int) -> list[int]:
    """Return the seed of each client.

    The first one has the run's own random streams, so that a federation of one client is central
    training. Each of the others has streams of its own.

    Args:
        clients: how many there are.
        seed: of the run.
    """
    return [seed, *(derive(seed, "client", number) for number in range(1, clients))]


def participants(federation: FederationSpec, seed: int, number: int) -> list[int]:
    """Return the clients that take part in a round, by their numbers.

    Where clients are protected each is drawn by itself, with the probability ``share`` (a Poisson
    sample, which may be empty): the accountants assume so.

    Args:
        federation: how many clients there are, and the share of them.
        seed: of the run.
        number: of the round, from 0.
    """
    if federation.privacy is not None:
        chances = numpy_stream(seed, "participants", number).random(federation.clients)
        return np.flatnonzero(chances < federation.share).tolist()
    if federation.participants() == federation.clients:
        return list(range(federation.clients))
    rng = numpy_stream(seed, "participants", number)
    chosen = rng.choice(federation.clients, federation.participants(), replace=False)
    return sorted(chosen.tolist())


class ProximalStep(PlainStep):
    """A step of FedProx: the gradient of ``mu / 2 · |w - w_global|²`` comes on top.

    The loss that is reported is without that term.
    """

    def __init__(self, setup: StepSetup, mu: float) -> None:
        super().__init__(setup)
        self.mu = mu
        self.anchor: State = {}

    def begin_round(self) -> None:
        """Keep the global model, which the segmenter has now."""
        parameters = self.segmenter.named_parameters()
        self.anchor = {name: each.detach().clone() for name, each in parameters}

    def update(self) -> None:
        """See :class:`PlainStep`."""
        # the gradients are scaled until the optimiser's step: so must this term be
        factor = self.mu * self.scaler.get_scale()
        for group in self.optimizer.param_groups:
            for name, parameter in zip(group["names"], group["params"], strict=True):
                if parameter.grad is not None:
                    away = parameter.detach() - self.anchor[name]
                    parameter.grad.add_(away, alpha=factor)
        super().update()


def client_step(federation: FederationSpec) -> Callable[[StepSetup], Step]:
    """Return what makes the steps of a federation's clients."""
    if isinstance(federation.algorithm, FedProx):
        return partial(ProximalStep, mu=federation.algorithm.mu)
    return PlainStep
