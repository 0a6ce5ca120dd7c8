"""The state of a federated training: the global model, its clients and the rounds so far."""

import copy
from collections.abc import Sequence
from typing import Any

from accelerate.utils import send_to_device

from encoder_ablations.engine.training.federated.aggregation import (
    State,
    make_server,
    weighted_mean,
)
from encoder_ablations.engine.training.federated.clients import Client, ProximalStep, participants
from encoder_ablations.engine.training.federated.exchange import (
    Exchange,
    check_private_exchange,
    read,
    size_in_bytes,
    write,
)
from encoder_ablations.engine.training.federated.private import PrivateMean, is_finite
from encoder_ablations.engine.training.federated.remote import Learnt, Own, Task
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.engine.training.private.checks import check_buffers
from encoder_ablations.engine.training.steps import Step, StepSetup

Plain = dict[str, Any]
"""Tensors and plain values, as a checkpoint holds them."""


class Rounds:
    """Everything that the next client's steps, and the end of the round, depend on.

    Attributes:
        global_model: the tensors that are exchanged, as the present round began.
        local: client -> its own BatchNorms, where these stay with the clients.
        kept: client -> the state of its optimiser, where it is kept.
        done: client -> its model and losses, of the clients that have finished the present round.
        losses: client -> mean loss of each round; None where there is none.
        failures: clients that failed: round, client, error.
        bytes_down, bytes_up: of each round.
        private: combines the models where clients are protected; else None.
    """

    def __init__(
        self,
        federation: FederationSpec,
        clients: Sequence[Client],
        seed: int,
        setup: StepSetup,
        step: Step,
    ) -> None:
        """Begin with the model as it is.

        Args:
            federation: the settings.
            clients: all of them, by number.
            seed: of the run.
            setup: the model and the optimiser that all clients use in turn.
            step: makes their steps.

        Raises:
            InputError: a setting that this model does not allow, or ``privacy`` that does not fit.
        """
        self.federation = federation
        self.recipe = setup.recipe
        self.clients = clients
        self.seed = seed
        self.segmenter, self.optimizer, self.step = setup.segmenter, setup.optimizer, step
        self.exchange = Exchange.of(self.segmenter, federation.local_batch_norm)
        self.server = make_server(federation.algorithm)
        self.private: PrivateMean | None = None
        if federation.privacy is not None:
            check_private_exchange(self.segmenter, self.exchange)
            self.private = PrivateMean(federation.privacy, federation, seed)
        self.first_buffers = self._buffers()
        self.global_model = read(self.segmenter, self.exchange.shared)
        self.first_local = read(self.segmenter, self.exchange.local)
        self.first_optimizer = self._optimizer_state()
        self.local: dict[int, State] = {}
        self.kept: dict[int, Plain] = {}
        self.done: dict[int, Plain] = {}
        self.losses: list[list[float | None]] = [[] for _ in clients]
        self.failures: list[Plain] = []
        self.bytes_down: list[int] = []
        self.bytes_up: list[int] = []

    @property
    def number(self) -> int:
        """Return the number of the present round, from 0."""
        return len(self.bytes_down)

    def participants(self) -> list[int]:
        """Return the clients of the present round, in the order in which they are computed."""
        return participants(self.federation, self.seed, self.number)

    def waiting(self) -> list[Client]:
        """Return the clients of the present round that have neither finished nor failed."""
        ended = {*self.done, *self._failed()}
        return [self.clients[each] for each in self.participants() if each not in ended]

    def _failed(self) -> list[int]:
        return [each["client"] for each in self.failures if each["round"] == self.number]

    def _optimizer_state(self) -> Plain:
        """Return a copy of the state of the optimiser and of the step, on the CPU.

        A GPU would have to hold it for every client, and other processes have other GPUs.
        """
        state = {"optimizer": self.optimizer.state_dict(), "step": self.step.state_dict()}
        copied: Plain = send_to_device(copy.deepcopy(state), "cpu")
        return copied

    def _buffers(self) -> State:
        """Return copies of the buffers that no client may change where clients are protected."""
        if self.private is None:
            return {}
        names = [name for name, _ in self.segmenter.named_buffers()]
        return read(self.segmenter, set(names).difference(self.exchange.local))

    def task(self, start: int) -> Task:
        """Return what the clients that are still waiting have to do.

        Args:
            start: the first step of the present round.
        """
        own = {client.number: self.own(client.number) for client in self.waiting()}
        return Task(self.number, start, self.global_model, own)

    def own(self, number: int) -> Own:
        """Return what a client has from earlier rounds."""
        return Own(self.local.get(number, self.first_local), self.kept.get(number))

    def begin(self, model: State, own: Own) -> None:
        """Make the segmenter and the optimiser a client's, before its steps.

        Args:
            model: the global one.
            own: what the client has from earlier rounds.
        """
        write(self.segmenter, model)
        write(self.segmenter, own.norms)
        # a client that failed may have left gradients
        self.optimizer.zero_grad(set_to_none=True)
        # the optimiser would go on working in the tensors that it is given
        kept = copy.deepcopy(own.optimizer or self.first_optimizer)
        self.optimizer.load_state_dict(kept["optimizer"])
        self.step.load_state_dict(kept["step"])
        if isinstance(self.step, ProximalStep):
            self.step.begin_round()

    def learnt(self, losses: list[float], terms: list[dict[str, float]]) -> Learnt:
        """Return what a client has learnt, whose model the segmenter is.

        Args:
            losses: of its steps.
            terms: of each step, the losses that it is the sum of, by name.

        Raises:
            InputError: clients are protected, and images have changed a buffer of the model.
        """
        if self.private is not None:
            check_buffers(self.first_buffers, self._buffers())
        kept = None
        if self.federation.local_optimizer == "keep":
            kept = self._optimizer_state()
        own = Own(read(self.segmenter, self.exchange.local), kept)
        return Learnt(read(self.segmenter, self.exchange.shared), losses, terms, own)

    def accept(self, client: Client, learnt: Learnt) -> None:
        """Take over what a client has learnt, for the end of the round and its own next one.

        Where clients are protected, a model with a number that is not finite is a failure.
        """
        if self.private is not None and not is_finite(learnt.model):
            self.fail(client, FloatingPointError("a number of the client's model"))
            return
        self.done[client.number] = {
            "model": learnt.model,
            "losses": learnt.losses,
            "terms": learnt.terms,
        }
        self.keep(client.number, learnt.own)

    def keep(self, number: int, own: Own | None) -> None:
        """Keep what stays with a client, unless it does so itself (None)."""
        if own is None:
            return
        if own.norms:
            self.local[number] = own.norms
        if own.optimizer is not None:
            self.kept[number] = own.optimizer

    def fail(self, client: Client, error: Exception) -> None:
        """Leave a client out of the present round.

        Raises:
            Exception: ``error``, where it was the last one and no other has finished. Where clients
                are protected the round goes on without any of them, unless none has ever finished.
        """
        line = f"{type(error).__name__}: {' '.join(str(error).split())}"
        failure = {"round": self.number, "client": client.number, "error": line}
        self.failures.append(failure)
        if self.waiting() or self.done:
            return
        if self.private is None or not any(self.bytes_up):
            raise error

    def images(self) -> dict[int, int]:
        """Return how many images each client of the present round has that has finished."""
        return {each: self.clients[each].images for each in sorted(self.done)}

    def aggregate(self) -> None:
        """Make the next global model and end the round; the segmenter becomes that model."""
        mean = self._mean({each: done["model"] for each, done in self.done.items()})
        sent = size_in_bytes(self.global_model)
        for client in self.clients:
            done = self.done.get(client.number)
            loss = None
            if done is not None:
                loss = sum(done["losses"]) / len(done["losses"])
            self.losses[client.number].append(loss)
        down, up = sent * len(self.participants()), sent * len(self.done)
        self.global_model = self.server.update(self.global_model, mean, self.exchange.learnt)
        self.bytes_down.append(down)
        self.bytes_up.append(up)
        self.done = {}
        # clients that train at the same time may fail in any order
        self.failures.sort(key=lambda failure: (failure["round"], failure["client"]))
        self.restore()

    def _mean(self, models: dict[int, State]) -> State:
        """Return the mean of the clients' models, with noise where clients are protected."""
        if self.private is not None:
            return self.private.of(self.global_model, models, self.number)
        return weighted_mean(models, self.images())

    def restore(self) -> None:
        """Make the segmenter the global model, as it is evaluated.

        Of BatchNorms that stay with the clients it has the mean of all clients so far.
        """
        write(self.segmenter, self.global_model)
        local = self.first_local
        if self.local:
            images = {each: self.clients[each].images for each in self.local}
            local = weighted_mean(self.local, images)
        write(self.segmenter, local)

    def state_dict(self) -> Plain:
        """Return everything, for a checkpoint."""
        names = ("global_model", "local", "kept", "done", "losses", "failures")
        found = {name: getattr(self, name) for name in (*names, "bytes_down", "bytes_up")}
        if self.private is not None:
            found["private"] = self.private.state_dict()
        return found | {"server": self.server.state_dict()}

    def load_state_dict(self, state: Plain) -> None:
        """Take over what ``state_dict`` returned."""
        own = dict(state)
        self.server.load_state_dict(own.pop("server"))
        if self.private is not None:
            self.private.load_state_dict(own.pop("private"))
        vars(self).update(own)
