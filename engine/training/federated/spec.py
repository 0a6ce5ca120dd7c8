"""The settings of a federated training."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from encoder_ablations.data.partitions.spec import PartitionSpec, partition_title
from encoder_ablations.engine.privacy import ClientPrivacySpec
from encoder_ablations.utils.config import Config, at_most
from encoder_ablations.utils.errors import InputError

Rate = Annotated[float, Field(gt=0)]
Average = Annotated[float, Field(ge=0, lt=1)]
Clients = Annotated[int, Field(ge=1), at_most(10**5, "each is trained in turn")]
OF_ROUNDS = ("rounds", "local_steps", "share", "local_batch_norm", "local_optimizer", "privacy")
"""Settings that a client that trains alone does not have."""


class FedAvg(Config):
    """The mean of the clients' models (McMahan et al., AISTATS 2017)."""

    kind: Literal["fedavg"] = "fedavg"
    """Which algorithm."""


class FedProx(Config):
    """FedAvg whose clients stay near the global model (Li et al., MLSys 2020)."""

    kind: Literal["fedprox"]
    """Which algorithm."""
    mu: Annotated[float, Field(ge=0)]
    """Weight of the loss ``mu / 2 · |w - w_global|²``; 0 = FedAvg."""


class FedAvgM(Config):
    """FedAvg with momentum at the server (Hsu, Qi & Brown, arXiv:1909.06335)."""

    kind: Literal["fedavgm"]
    """Which algorithm."""
    momentum: Average = 0.9
    """Share of the last update that the next one keeps."""
    lr: Rate = 1.0
    """Learning rate of the server; 1 with momentum 0 = FedAvg."""


class FedAdam(Config):
    """Adam at the server (Reddi et al., ICLR 2021, algorithm 2)."""

    kind: Literal["fedadam"]
    """Which algorithm."""
    lr: Rate = 0.01
    """Learning rate of the server."""
    betas: tuple[Average, Average] = (0.9, 0.99)
    """Averaging coefficients of the mean and of the mean square of updates."""
    tau: Rate = 1e-3
    """Degree of adaptivity: what is added to the root of the mean square."""


class Local(Config):
    """One client trains alone on its own images, as central training does."""

    kind: Literal["local"]
    """Which algorithm."""
    client: Annotated[int, Field(ge=0)] | None = None
    """Number of the client, from 0. A study may leave it out: it then has a run for each client."""


def _named(value: Any) -> Any:
    """Return the name of an algorithm as its settings."""
    if isinstance(value, str):
        return {"kind": value}
    return value


Algorithm = Annotated[
    FedAvg | FedProx | FedAvgM | FedAdam | Local,
    Field(discriminator="kind"),
    BeforeValidator(_named),
]


class FederationSpec(Config):
    """Several clients train on images that stay with them; a server combines their models."""

    clients: Clients
    """How many there are."""
    partition: PartitionSpec = "iid"
    """How the training images are divided among them: "iid", "scenes" (whole scenes), {dirichlet:
    0.5} or {label_skew: 2} (classes per client).
    """
    algorithm: Algorithm = FedAvg()
    """How their models are combined: "fedavg", {kind: fedprox, mu: 0.01}, {kind: fedavgm}, {kind:
    fedadam}; or "local": each client alone.
    """
    rounds: Annotated[int, Field(ge=1)] | None = None
    """How often the models are combined."""
    local_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimiser steps of a client in each round. None = recipe.steps divided by ``rounds``."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the clients that take part in a round, drawn anew for each; at least one does. With
    ``privacy`` it is the probability that each client does, whatever the others do.
    """
    local_batch_norm: bool = False
    """Whether each client keeps the BatchNorms that learn, statistics and affine parameters, for
    itself (FedBN: Li et al., ICLR 2021; SiloBN keeps the statistics only).
    """
    local_optimizer: Literal["reset", "keep"] = "reset"
    """Whether the state of a client's optimiser begins anew in every round, as in McMahan et al.,
    or is kept by the client.
    """
    privacy: ClientPrivacySpec | None = Field(default=None, exclude_if=lambda spec: spec is None)
    """Protects whole clients, such as {epsilon: 8}; null = off. What it promises:
    docs/federated.md.
    """

    @model_validator(mode="after")
    def _rounds_fit_the_algorithm(self) -> "FederationSpec":
        if not isinstance(self.algorithm, Local):
            if self.rounds is None:
                raise ValueError("rounds is missing: how often the clients' models are combined")
            return self
        fields = FederationSpec.model_fields
        said = [key for key in OF_ROUNDS if getattr(self, key) != fields[key].default]
        if said:
            raise ValueError(f"{said[0]} means nothing where clients train alone; leave it out")
        client = self.algorithm.client
        if client is not None and client >= self.clients:
            raise ValueError(
                f"algorithm.client {client} is not one of {self.clients} clients; allowed are "
                f"0..{self.clients - 1}"
            )
        return self

    @property
    def alone(self) -> int | None:
        """Return the client that trains alone; None in a federation."""
        if isinstance(self.algorithm, Local):
            return self.algorithm.client
        return None

    def by_client(self) -> "list[FederationSpec]":
        """Return the settings of each client where all are to train alone, otherwise these."""
        if not self.is_local or self.alone is not None:
            return [self]
        local = [Local(kind="local", client=number) for number in range(self.clients)]
        return [self.model_copy(update={"algorithm": each}) for each in local]

    @property
    def is_local(self) -> bool:
        """Whether clients train alone."""
        return isinstance(self.algorithm, Local)

    @property
    def title(self) -> str:
        """Return the settings in words, those that are not the defaults included."""
        own = self.algorithm.model_dump(exclude={"kind", "client"}, exclude_defaults=True)
        words = [self.algorithm.kind, *(f"{key} {value}" for key, value in own.items())]
        words += [f"{self.clients} clients", partition_title(self.partition)]
        if self.rounds is not None:
            words.append(f"{self.rounds} rounds")
        if self.share < 1:
            words.append(f"share {self.share:g}")
        if self.local_batch_norm:
            words.append("local BatchNorm")
        if self.local_optimizer == "keep":
            words.append("optimiser kept")
        if self.privacy is not None:
            words.append(f"private clients {self.privacy.title}")
        if self.alone is not None:
            words.append(f"client {self.alone}")
        return " ".join(words)

    def steps_per_round(self, steps: int) -> int:
        """Return the optimiser steps of a client in each round, of ``recipe.steps`` in all."""
        assert self.rounds is not None
        return self.local_steps or steps // self.rounds

    def participants(self) -> int:
        """Return how many clients take part in each round."""
        return max(1, round(self.share * self.clients))

    def check_processes(self, processes: int) -> None:
        """Check that so many processes can share a run.

        Raises:
            InputError: several cannot, because clients are computed by one.
        """
        if processes > 1 and not self.is_local:
            raise InputError(
                f"federation: {processes} processes share a run, but clients are computed by one "
                "process. Start it without torchrun."
            )

    def check_steps(self, steps: int, evaluate_every: int) -> None:
        """Check that rounds and evaluations fit the steps of a recipe.

        Raises:
            ValueError: they do not.
        """
        if self.is_local:
            return
        own = self.steps_per_round(steps)
        if own * (self.rounds or 0) != steps:
            raise ValueError(
                f"federation: {self.rounds} rounds of {own} local_steps are not recipe.steps "
                f"{steps}. Each client takes recipe.steps: choose rounds × local_steps equal to it"
            )
        if evaluate_every % own and evaluate_every < steps:
            raise ValueError(
                f"recipe.evaluate_every {evaluate_every} must be a multiple of the {own} "
                "local_steps of a round: between rounds there is no global model"
            )
