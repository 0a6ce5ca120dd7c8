"""Federated training that protects clients: clipped updates, noise on their sum, and ε."""

from collections.abc import Mapping

import torch

from encoder_ablations.engine.privacy import ClientPrivacySpec
from encoder_ablations.engine.training.federated.aggregation import State
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.engine.training.private.accountant import Steps, epsilon_of, noise_for
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import derive

WHERE = "federation.privacy"


class PrivateMean:
    """The noised mean of the clients' updates (DP-FedAvg: McMahan et al., ICLR 2018).

    It is the paper's estimator with the fixed denominator q · N, and every client has the same
    weight. Adding or removing a client changes the sum of updates by ``clip`` at most. A client
    that is not drawn or that fails contributes nothing; noise and denominator stay as they are.

    Attributes:
        noise: standard deviation of the noise on the sum, in units of ``clip``.
        rate: q, the probability of each client to take part in a round.
    """

    def __init__(self, spec: ClientPrivacySpec, federation: FederationSpec, seed: int) -> None:
        """Find the noise.

        Args:
            spec: the settings of privacy.
            federation: clients, rounds, and the share of the clients that take part.
            seed: of the run.

        Raises:
            InputError: both noise and ε are given, no noise keeps ε, or Opacus is not installed.
        """
        assert federation.rounds is not None
        self.spec, self.seed = spec, seed
        self.clients, self.rate = federation.clients, federation.share
        check_budget(spec, federation)
        self.noise = noise_for(spec, self.rate, federation.rounds, WHERE)

    def of(self, present: State, models: Mapping[int, State], number: int) -> State:
        """Return the present global model plus the noised mean of the clients' updates.

        Args:
            present: the global model that the round began with: floating-point parameters.
            models: client -> its model after the round; it may be empty.
            number: of the round, from 0.
        """
        sums = {name: torch.zeros(each.shape).double() for name, each in present.items()}
        # in the order of the clients' numbers, so that the order of computation changes no bit
        for client in sorted(models):
            for name, change in clipped_update(present, models[client], self.spec.clip).items():
                sums[name] += change
        # noise once, on the sum, from a stream of its own for each round
        generator = torch.Generator().manual_seed(derive(self.seed, "client noise", number))
        found = {}
        for name in sorted(sums):
            drawn = torch.randn(sums[name].shape, generator=generator, dtype=torch.float64)
            noised = sums[name] + self.noise * self.spec.clip * drawn
            mean = noised / (self.rate * self.clients)
            found[name] = (present[name].double() + mean).to(present[name].dtype)
        return found

    def spent(self, rounds: int) -> dict[str, float]:
        """Return what so many rounds have spent: see :meth:`Step.privacy`; "taken" is rounds."""
        steps = Steps(self.noise, self.rate, rounds)
        return {"epsilon": self.epsilon(rounds), **steps._asdict()}

    def epsilon(self, rounds: int) -> float:
        """Return the ε that so many rounds have spent."""
        steps = Steps(self.noise, self.rate, rounds)
        return epsilon_of(steps, self.spec.delta, self.spec.accountant)

    def state_dict(self) -> dict[str, float]:
        """Return the noise, which stays what it was, also if it would be solved otherwise."""
        return {"noise": self.noise}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take over what ``state_dict`` returned."""
        self.noise = state["noise"]


def clipped_update(present: State, model: State, clip: float) -> State:
    """Return what a client changed, in float64, scaled to a norm of at most ``clip``.

    Args:
        present: the global model that the client began with.
        model: the client's model.
        clip: largest L2 norm over all tensors together.
    """
    changes = {name: model[name].double() - present[name].double() for name in sorted(present)}
    norm = torch.stack([change.norm() for change in changes.values()]).norm()
    factor = (clip / norm).clamp(max=1.0)
    return {name: change * factor for name, change in changes.items()}


def is_finite(model: State) -> bool:
    """Return whether all numbers of a model are finite."""
    return all(bool(torch.isfinite(each).all()) for each in model.values())


def check_budget(spec: ClientPrivacySpec, federation: FederationSpec) -> None:
    """Check that one of noise and ε is given.

    Raises:
        InputError: both are; the message says which ε that noise gives.
    """
    if spec.epsilon is None or spec.noise is None:
        return
    steps = Steps(spec.noise, federation.share, federation.rounds or 0)
    given = epsilon_of(steps, spec.delta, spec.accountant)
    raise InputError(
        f"{WHERE} gives both noise {spec.noise:g} and epsilon {spec.epsilon:g}: with share "
        f"{federation.share:g} and {federation.rounds} rounds that noise gives epsilon {given:.3g} "
        f"at delta {spec.delta:g}. Leave out one of the two."
    )


def large_client_delta(federation: FederationSpec | None) -> str | None:
    """Return what to say of a δ of 1 / clients or more; None for a smaller one."""
    if federation is None or federation.privacy is None:
        return None
    delta, clients = federation.privacy.delta, federation.clients
    if delta < 1 / clients:
        return None
    return (
        f"{WHERE}.delta {delta:g} is not below 1 / {clients} clients ({1 / clients:.2g}): to "
        "publish one client's images at random would be as private. Lower it."
    )
