"""What a federated training leaves in its record, beside what every training leaves."""

from pydantic import BaseModel, ConfigDict, Field

from encoder_ablations.engine.training.private.record import PrivacyRecord


class Part(BaseModel):
    """A part of a record: it cannot be changed, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClientFailure(Part):
    """A client that was left out of a round because it failed.

    Attributes:
        round: from 0.
        client: its number, from 0.
        error: type and message in one line.
    """

    round: int
    client: int
    error: str


class ClientRecord(Part):
    """One client.

    Attributes:
        images: training images.
        class_pixels: pixels of each class in their masks.
        ids_sha256: of their names.
        loss: mean training loss of each round; None where the client took no part or failed. The
            first steps of a round are those of the global model on the client's images.
    """

    images: int
    class_pixels: list[int]
    ids_sha256: str
    loss: list[float | None] = []


class FederationRecord(Part):
    """The clients and the rounds of a federated training.

    Attributes:
        partition_sha256: of the names of each client's images.
        clients: by number.
        steps_per_round: of each client.
        bytes_down: what the server sent in each round, to all clients together.
        bytes_up: what the clients sent in each round, those that failed left out.
        failures: clients that were left out of a round.
        deployed: whether the clients were processes of their own, each with its own images;
            otherwise they were simulated.
        privacy: what protecting the clients has spent; None where they are not protected.
        epsilon: the same after each round; empty where they are not protected.
    """

    partition_sha256: str
    clients: list[ClientRecord]
    steps_per_round: int | None = None
    bytes_down: list[int] = []
    bytes_up: list[int] = []
    failures: list[ClientFailure] = []
    deployed: bool = Field(default=False, exclude_if=lambda each: not each)
    privacy: PrivacyRecord | None = Field(default=None, exclude_if=lambda spent: spent is None)
    epsilon: list[float] = Field(default=[], exclude_if=lambda spent: not spent)

    @property
    def worst_client(self) -> int | None:
        """Return the client with the largest loss in its last round; None if none has any."""
        last = {}
        for number, client in enumerate(self.clients):
            known = [loss for loss in client.loss if loss is not None]
            if known:
                last[number] = known[-1]
        return max(last, key=last.__getitem__, default=None)
