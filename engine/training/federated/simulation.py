"""Clients that are computed one after another, in this process."""

from collections.abc import Iterator, Sequence

from encoder_ablations.engine.training.course import Loop
from encoder_ablations.engine.training.federated.clients import Client
from encoder_ablations.engine.training.federated.remote import News, Taken, Task
from encoder_ablations.engine.training.federated.rounds import Rounds
from encoder_ablations.engine.training.steps import Step
from encoder_ablations.utils.errors import CannotContinue
from encoder_ablations.utils.files import StorageError


class SimulatedClients:
    """Clients that use one model and one optimiser in turn: see :class:`Clients`."""

    whole_rounds = False

    def __init__(self, rounds: Rounds, steps: int, loop: Loop, step: Step) -> None:
        """Take over what the clients use.

        Args:
            rounds: the clients, their model and their optimiser.
            steps: how many a client takes in each round.
            loop: makes the steps.
            step: what the loop makes them with.
        """
        self.rounds, self.steps = rounds, steps
        self.loop, self.step = loop, step
        self.clients = {client.number: client for client in rounds.clients}

    def train(self, task: Task, clients: Sequence[int]) -> Iterator[tuple[int, News]]:
        """See :class:`Clients`.

        Raises:
            InputError: clients are protected, and images have changed a buffer of the model.
        """
        for number in clients:
            self.rounds.begin(task.model, task.own[number])
            for news in self._answers(self.clients[number], task.start):
                yield number, news

    def _answers(self, client: Client, start: int) -> Iterator[News]:
        """Let a client take the steps of a round; after an error it takes no further one."""
        steps = self._steps(client, start)
        losses, terms = [], []
        for _ in range(self.steps):
            try:
                loss, parts = next(steps)
            except (CannotContinue, StorageError):
                raise
            except Exception as error:  # noqa: BLE001 - recorded; the other clients go on
                self.loop.progress.step = start
                yield error
                return
            losses.append(loss)
            terms.append(parts)
            yield Taken(len(losses), loss)
        # ends the processes that load images
        next(steps, None)
        yield self.rounds.learnt(losses, terms)

    def _steps(self, client: Client, start: int) -> Iterator[tuple[float, dict[str, float]]]:
        """Yield the loss of each step, and the losses that it is the sum of, by name."""
        self.loop.progress.step = start
        batches = iter(client.batches(start, start + self.steps))
        for _ in range(self.steps):
            yield self.loop.step(next(batches), client.seed), dict(self.step.terms)
        # ends the processes that load images
        next(batches, None)
