"""Clients that are processes of their own: what a server asks of them, however messages travel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from encoder_ablations.engine.training.federated.aggregation import State
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import CannotContinue


@dataclass(frozen=True)
class Task:
    """What a client is asked to do in a round.

    Attributes:
        number: of the round, from 0.
        start: the first of its steps, counted from 0 over all rounds.
        model: the global model, without what training does not change.
    """

    number: int
    start: int
    model: State


@dataclass(frozen=True)
class Learnt:
    """What a client has learnt in a round.

    Attributes:
        model: after its steps; the same tensors as in the task.
        losses: of each step.
        terms: of each step, the losses that it is the sum of, by name.
    """

    model: State
    losses: list[float]
    terms: list[dict[str, float]]


class ClientLost(CannotContinue):
    """A client did not finish a round; the message says why."""


Result = Learnt | ClientLost
"""What becomes of a client in a round."""


class RemoteClients(Protocol):
    """The clients of a federation, somewhere else."""

    def agree(self, segmenter: Segmenter, shared: Sequence[str]) -> None:
        """Check that every client has the same model before training.

        Args:
            segmenter: the server's model with its initial weights.
            shared: names of the tensors that are sent in every round.

        Raises:
            InputError: a client has another one.
            ClientLost: a client does not answer.
        """

    def train(self, task: Task, clients: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """Let clients train at the same time, and yield what becomes of each as it ends.

        Args:
            task: the same for all.
            clients: their numbers.
        """
