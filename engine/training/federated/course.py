"""Federated training on the loop of central training: rounds in which clients take steps."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from encoder_ablations.engine.training.course import Advance, Course, Loop
from encoder_ablations.engine.training.federated.clients import Client
from encoder_ablations.engine.training.federated.remote import (
    Clients,
    Learnt,
    News,
    RemoteClients,
    Taken,
    Task,
)
from encoder_ablations.engine.training.federated.rounds import Rounds
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.engine.training.schedule import rate_factor, set_rates
from encoder_ablations.engine.training.steps import Step, StepSetup
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


class FederatedCourse(Course):
    """Trains one global model in rounds.

    In a round each client begins with the global model and takes ``local_steps`` steps on its own
    images; then the server combines the models. ``progress.step`` counts the steps of a client, so
    that learning rate, evaluations and checkpoints follow the recipe as in central training. Step t
    of a client takes batch t of its own data order; a client that sits out a round skips those
    batches.

    A client's steps are repeated as a whole where a killed run goes on: every checkpoint is that of
    the moment after a client or a round.
    """

    def __init__(
        self,
        federation: FederationSpec,
        clients: Sequence[Client],
        seed: int,
        setup: StepSetup,
        step: Step,
        remote: RemoteClients | None = None,
    ) -> None:
        """Begin with the model as it is.

        Args:
            federation: the settings.
            clients: all of them, by number.
            seed: of the run.
            setup: the model and the optimiser that all clients use in turn.
            step: makes their steps.
            remote: the clients, where other processes compute them; None = this one does.

        Raises:
            InputError: several processes, a setting that this model or recipe does not allow, or a
                remote client that has another model.
            ClientLost: a remote client does not answer.
        """
        federation.check_processes(setup.accelerator.num_processes)
        self.recipe, self.optimizer, self.step = setup.recipe, setup.optimizer, step
        self.local_steps = federation.steps_per_round(setup.recipe.steps)
        self.rounds = Rounds(federation, clients, seed, setup, step)
        self.remote = remote
        if remote is not None:
            remote.agree(setup.segmenter, self.rounds.exchange.shared)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Course`."""
        return self.rounds.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Course`."""
        self.rounds.load_state_dict(state)

    def privacy(self) -> dict[str, float] | None:
        """Return what the rounds so far have spent; None where clients are not protected."""
        if self.rounds.private is None:
            return None
        return self.rounds.private.spent(self.rounds.number)

    def train(self, loop: Loop, advance: Advance) -> None:
        """See :class:`Course`."""
        clients = self.remote or self.simulated(loop)
        while not loop.finished():
            start = loop.progress.step
            self._take_part(clients, start, loop, advance)
            self._end_round(start, loop)
            if loop.evaluate() or loop.save_is_due() or clients.whole_rounds:
                loop.save()

    def simulated(self, loop: Loop) -> SimulatedClients:
        """Return the clients as this process computes them."""
        return SimulatedClients(self.rounds, self.local_steps, loop, self.step)

    def _take_part(self, clients: Clients, start: int, loop: Loop, advance: Advance) -> None:
        """Let the clients of a round that are still waiting take their steps.

        One that fails is left out of the round.

        Raises:
            Stopped: the process was interrupted; steps of clients that have not finished are
                discarded.
        """
        waiting = {client.number: client for client in self.rounds.waiting()}
        taken: dict[int, int] = {}
        for number, news in clients.train(self.rounds.task(start), list(waiting)):
            if isinstance(news, Taken):
                taken[number] = news.steps
                advance(self._shown(start, taken), f"client {number} loss {news.loss:.3f}")
                save_now = loop.interrupted()
            else:
                taken.pop(number, None)
                self._end_client(waiting[number], news, loop)
                save_now = loop.save_is_due()
            if save_now and not clients.whole_rounds:
                self._save_between_clients(start, loop)

    def _end_client(self, client: Client, news: Learnt | Exception, loop: Loop) -> None:
        """Take over what a client has learnt, or leave it out of the round."""
        if isinstance(news, Exception):
            self.rounds.fail(client, news)
            return
        self.rounds.accept(client, news)
        progress = loop.progress
        progress.seconds += news.seconds
        progress.peak_memory_bytes = max(progress.peak_memory_bytes, news.peak_memory_bytes)

    def _shown(self, start: int, taken: Mapping[int, int]) -> int:
        """Return the steps that count as done, of all participants' steps in this round.

        Args:
            start: the first step of the round.
            taken: client -> its steps, of those that have not finished.
        """
        steps = sum(taken.values()) + self.local_steps * len(self.rounds.done)
        return start + steps // len(self.rounds.participants())

    def _save_between_clients(self, start: int, loop: Loop) -> None:
        """Save a checkpoint that has the clients so far; the model in it is the global one.

        Raises:
            Stopped: the process was interrupted.
        """
        loop.progress.step = start
        self.rounds.restore()
        loop.save()

    def _end_round(self, start: int, loop: Loop) -> None:
        """Combine the models, and report every step's mean loss, weighted by images.

        A round without clients, as there may be where these are protected, has the loss 0.
        """
        done, images = dict(self.rounds.done), self.rounds.images()
        self.rounds.aggregate()
        spent = self.privacy()
        if spent is not None:
            loop.progress.epsilon_by_round[start + self.local_steps] = spent["epsilon"]
        total = sum(images.values())
        shares = {client: count / total for client, count in images.items()}
        for index in range(self.local_steps):
            step = start + index
            set_rates(self.optimizer, rate_factor(step, self.recipe.steps, self.recipe.schedule))
            loop.progress.step = step + 1
            losses = {each: {"": done[each]["losses"][index]} for each in shares}
            terms = {each: done[each]["terms"][index] for each in shares}
            loop.report(_mean(losses, shares).get("", 0.0), _mean(terms, shares))


def _mean(
    values: Mapping[int, Mapping[str, float]], shares: Mapping[int, float]
) -> dict[str, float]:
    """Return the clients' weighted mean of each loss, by its name.

    Args:
        values: client -> its losses by name; the same names for all.
        shares: client -> its weight; they add up to 1.
    """
    found: dict[str, float] = {}
    for client, share in shares.items():
        for name, value in values[client].items():
            found[name] = found.get(name, 0.0) + share * value
    return found
