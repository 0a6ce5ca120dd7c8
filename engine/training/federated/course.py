"""Federated training on the loop of central training: clients take their steps one by one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from encoder_ablations.engine.training.course import Advance, Course, Loop
from encoder_ablations.engine.training.federated.clients import Client
from encoder_ablations.engine.training.federated.remote import ClientLost, RemoteClients, Task
from encoder_ablations.engine.training.federated.rounds import Rounds
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.engine.training.schedule import rate_factor, set_rates
from encoder_ablations.engine.training.steps import Step, StepSetup
from encoder_ablations.utils.errors import CannotContinue
from encoder_ablations.utils.files import StorageError


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
            remote: the clients, where they are processes of their own; None = they are simulated.

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
        while not loop.finished():
            start = loop.progress.step
            self._take_part(start, loop, advance)
            self._end_round(start, loop)
            # remote clients may be gone when a round would have to be repeated
            if loop.evaluate() or loop.save_is_due() or self.remote is not None:
                loop.save()

    def _take_part(self, start: int, loop: Loop, advance: Advance) -> None:
        """Let the clients of a round that are still waiting take their steps."""
        if self.remote is not None:
            self._take_part_elsewhere(self.remote, start, advance)
            return
        for client in self.rounds.waiting():
            self._client(client, start, loop, advance)

    def _take_part_elsewhere(self, remote: RemoteClients, start: int, advance: Advance) -> None:
        """Let remote clients take their steps; those that are lost are left out of the round."""
        waiting = {client.number: client for client in self.rounds.waiting()}
        task = Task(self.rounds.number, start, self.rounds.global_model)
        for number, result in remote.train(task, list(waiting)):
            if isinstance(result, ClientLost):
                self.rounds.fail(waiting[number], result)
                continue
            self.rounds.done[number] = dict(vars(result))
            status = f"round {task.number} client {number} loss {result.losses[-1]:.3f}"
            advance(self._shown(start, 0), status)

    def _client(self, client: Client, start: int, loop: Loop, advance: Advance) -> None:
        """Let a client take the steps of a round; one that fails is left out of it.

        Raises:
            Stopped: the process was interrupted; what the client has learnt is discarded.
        """
        self.rounds.begin(client)
        taken = client_steps(client, start, self.local_steps, loop, self.step)
        losses, terms = [], []
        for _ in range(self.local_steps):
            try:
                loss, parts = next(taken)
            except (CannotContinue, StorageError):
                raise
            except Exception as error:  # noqa: BLE001 - recorded; the other clients go on
                loop.progress.step = start
                self.rounds.fail(client, error)
                return
            losses.append(loss)
            terms.append(parts)
            advance(self._shown(start, len(losses)), f"client {client.number} loss {loss:.3f}")
            if loop.interrupted():
                self._save_between_clients(start, loop)
        # ends the processes that load images
        next(taken, None)
        self.rounds.finish(client, losses, terms)
        if loop.save_is_due():
            self._save_between_clients(start, loop)

    def _shown(self, start: int, taken: int) -> int:
        """Return the steps that count as done, of all participants' steps in this round."""
        taken += self.local_steps * len(self.rounds.done)
        return start + taken // len(self.rounds.participants())

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


def client_steps(
    client: Client, start: int, steps: int, loop: Loop, step: Step
) -> Iterator[tuple[float, dict[str, float]]]:
    """Let a client take the steps of a round, and yield the loss of each.

    Args:
        client: has been given the global model.
        start: the first step, counted from 0.
        steps: how many it takes.
        loop: makes the steps.
        step: what the loop makes them with.

    Yields:
        A step's loss, and the losses that it is the sum of, by name.
    """
    loop.progress.step = start
    batches = iter(client.batches(start, start + steps))
    for _ in range(steps):
        yield loop.step(next(batches), client.seed), dict(step.terms)
    # ends the processes that load images
    next(batches, None)


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
