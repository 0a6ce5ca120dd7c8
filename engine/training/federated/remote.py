"""What is asked of the clients of a round, wherever they are computed, and what they answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from encoder_ablations.engine.training.federated.aggregation import State
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import CannotContinue


@dataclass(frozen=True)
class Own:
    """What stays with a client from one round to the next, on the CPU.

    Attributes:
        norms: tensors of its BatchNorms; empty where these are exchanged.
        optimizer: the state of its optimiser and of its steps; None where it begins anew.
    """

    norms: State
    optimizer: dict[str, Any] | None


@dataclass(frozen=True)
class Task:
    """What clients are asked to do in a round.

    Attributes:
        number: of the round, from 0.
        start: the first of its steps, counted from 0 over all rounds.
        model: the global model, without what training does not change.
        own: client -> what it has from earlier rounds. Clients of other machines keep it there.
    """

    number: int
    start: int
    model: State
    own: Mapping[int, Own] = field(default_factory=dict)

    def of(self, client: int) -> "Task":
        """Return what one client needs of it."""
        return replace(self, own={client: self.own[client]})


@dataclass(frozen=True)
class Taken:
    """A client has taken a step.

    Attributes:
        steps: how many it has taken in this round.
        loss: of the last one.
    """

    steps: int
    loss: float


@dataclass(frozen=True)
class Learnt:
    """What a client has learnt in a round.

    Attributes:
        model: after its steps; the same tensors as in the task.
        losses: of each step.
        terms: of each step, the losses that it is the sum of, by name.
        own: what the client needs again in its next round; None where it keeps that itself.
        seconds: what its steps took, if they were taken in another process.
        peak_memory_bytes: the most memory that they held there.
    """

    model: State
    losses: list[float]
    terms: list[dict[str, float]]
    own: Own | None = None
    seconds: float = 0.0
    peak_memory_bytes: int = 0


class ClientLost(CannotContinue):
    """A client did not finish a round; the message says why."""


News = Taken | Learnt | Exception
"""What a client answers: any number of steps, and then what it has learnt or why it failed."""


class Clients(Protocol):
    """The clients of a federation, in this process or somewhere else.

    Attributes:
        whole_rounds: whether an interruption waits for the end of the round, and every round is
            saved. That is so where clients remember what they have learnt, and may be gone later.
    """

    whole_rounds: bool

    def train(self, task: Task, clients: Sequence[int]) -> Iterator[tuple[int, News]]:
        """Let clients train, and yield what each answers, with its number.

        Args:
            task: the same for all.
            clients: their numbers.
        """


class RemoteClients(Clients, Protocol):
    """Clients that are computed by other processes."""

    def agree(self, segmenter: Segmenter, shared: Sequence[str]) -> None:
        """See that every client has the same model before training.

        Args:
            segmenter: the server's model with its initial weights.
            shared: names of the tensors that are sent in every round.

        Raises:
            InputError: a client has another one.
            ClientLost: a client does not answer.
        """
