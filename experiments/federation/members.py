"""The clients of a federation, as the server knows them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Protocol

from pydantic import ValidationError

from encoder_ablations.engine.training.federated.remote import ClientLost, Learnt, News, Taken, Task
from encoder_ablations.experiments.federation.messages import (
    Arrays,
    ClientFacts,
    Introduction,
    Message,
    ModelFacts,
    Order,
    Parting,
    Reply,
    Report,
    model_facts,
    to_arrays,
    to_state,
)
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import CannotContinue, InputError
from encoder_ablations.utils.texts import plural

PAUSE = 0.1
"""Seconds between two looks at who has come."""


class Channel(Protocol):
    """A connection to one client."""

    def ask(self, kind: str, content: str) -> str:
        """Send a question and return the reply.

        Raises:
            ClientLost: there is none.
        """

    def train(self, arrays: Arrays, content: str) -> tuple[Arrays, str]:
        """Send the global model with an order, and return the client's model with its report.

        Raises:
            ClientLost: there is none.
        """

    def dismiss(self, kind: Parting, reason: str) -> None:
        """Send the client away; do nothing where it has gone already."""


@dataclass(frozen=True)
class Member:
    """A client that takes part.

    Attributes:
        key: of its connection.
        channel: the connection.
    """

    key: str
    channel: Channel


class Members:
    """Asks clients who they are, and lets them train.

    A client that was lost may come again with the same images. It takes part from the next round.
    """

    whole_rounds = True

    def __init__(
        self,
        clients: int,
        spec_sha256: str,
        connected: Callable[[], Mapping[str, Channel]],
        tell: Callable[[str], object],
    ) -> None:
        """Begin without any client.

        Args:
            clients: how many there will be.
            spec_sha256: of the server's run.
            connected: returns the connections that there are now, by key.
            tell: is told who comes and goes.
        """
        self.clients = clients
        self.spec_sha256 = spec_sha256
        self.connected = connected
        self.tell = tell
        self.facts: dict[int, ClientFacts] = {}
        self._members: dict[int, Member] = {}
        self._known: set[str] = set()
        self._model: ModelFacts | None = None

    def wait(self, seconds: float | None = None) -> None:
        """Wait until all clients are here.

        Args:
            seconds: at most so long; None = as long as it takes.

        Raises:
            CannotContinue: some are not.
        """
        begun = time.monotonic()
        self.admit()
        while len(self._members) < self.clients:
            if seconds is not None and time.monotonic() - begun > seconds:
                missing = sorted({*range(self.clients)} - {*self._members})
                raise CannotContinue(
                    f"after {seconds:g} s these clients have not come: "
                    f"{', '.join(map(str, missing))}."
                )
            time.sleep(PAUSE)
            self.admit()

    def admit(self) -> None:
        """Ask whoever has come who they are; send away whoever does not belong here."""
        now = self.connected()
        self._members = {
            number: member for number, member in self._members.items() if member.key in now
        }
        for key in [key for key in now if key not in self._known]:
            self._known.add(key)
            try:
                self._introduce(Member(key, now[key]))
            except ClientLost as lost:
                self.tell(f"a client has come and gone: {lost}")
            except InputError as problem:
                self.tell(f"a client was sent away: {problem}")
                now[key].dismiss("refused", str(problem))

    def _introduce(self, member: Member) -> None:
        """Let a client take part.

        Raises:
            InputError: it does not belong here.
            ClientLost: it does not answer.
        """
        facts = _asked(member, "introduce", Introduction(spec_sha256=self.spec_sha256)).facts
        if facts is None:
            raise InputError("it does not tell of its images.")
        self._check(facts)
        if self._model is not None:
            _asked(member, "prepare", self._model)
        self.facts[facts.number] = facts
        self._members[facts.number] = member
        self.tell(
            f"client {facts.number} is here with {plural(facts.images, 'image')} "
            f"({len(self._members)} of {self.clients})"
        )

    def _check(self, facts: ClientFacts) -> None:
        number = facts.number
        if not 0 <= number < self.clients:
            raise InputError(f"it calls itself client {number}; allowed are 0..{self.clients - 1}.")
        if number in self._members:
            raise InputError(f"another process is client {number} already.")
        if self._model is not None and facts != self.facts[number]:
            raise InputError(f"the images of client {number} have changed since training began.")

    def agree(self, segmenter: Segmenter, shared: Sequence[str]) -> None:
        """See :class:`RemoteClients`."""
        pixels = [sum(each) for each in zip(*self._class_pixels(), strict=True)]
        self._model = model_facts(segmenter, shared, pixels)
        with ThreadPoolExecutor(len(self._members)) as pool:
            asked = [
                pool.submit(_asked, member, "prepare", self._model)
                for member in self._members.values()
            ]
            for number, reply in zip(self._members, asked, strict=True):
                try:
                    reply.result()
                except InputError as problem:
                    raise InputError(f"client {number}: {problem}") from problem

    def _class_pixels(self) -> list[list[int]]:
        return [facts.class_pixels for facts in self.facts.values()]

    def train(self, task: Task, clients: Sequence[int]) -> Iterator[tuple[int, News]]:
        """See :class:`RemoteClients`; clients train at the same time."""
        self.admit()
        with ThreadPoolExecutor(len(clients)) as pool:
            futures = {pool.submit(self._train, task, number): number for number in clients}
            for future in as_completed(futures):
                number = futures[future]
                try:
                    learnt = future.result()
                except ClientLost as lost:
                    self.tell(f"round {task.number} goes on without client {number}: {lost}")
                    yield number, lost
                    continue
                yield number, Taken(len(learnt.losses), learnt.losses[-1])
                yield number, learnt

    def _train(self, task: Task, number: int) -> Learnt:
        """Let a client train.

        Raises:
            ClientLost: it is not there, fails, or sends something else than its model.
        """
        assert self._model is not None
        if number not in self._members:
            raise ClientLost(f"client {number} is not connected")
        order = Order(round=task.number, start=task.start).model_dump_json()
        arrays, text = self._members[number].channel.train(to_arrays(task.model), order)
        try:
            report = Report.model_validate_json(text)
            if report.error is not None:
                raise ClientLost(report.error)
            if report.round != task.number or not report.losses:
                raise ClientLost("it has answered another question")
            return Learnt(to_state(arrays, self._model.layout), report.losses, report.terms)
        except (ValidationError, InputError) as problem:
            raise ClientLost(f"it has sent no model of this run ({problem})") from problem

    def dismiss(self, kind: Parting, reason: str = "") -> None:
        """Send all clients away."""
        for channel in self.connected().values():
            channel.dismiss(kind, reason)


def _asked(member: Member, kind: str, message: Message) -> Reply:
    """Return a client's reply to a question.

    Raises:
        InputError: the client refuses, or its reply cannot be read.
        ClientLost: there is no reply.
    """
    text = member.channel.ask(kind, message.model_dump_json())
    try:
        reply = Reply.model_validate_json(text)
    except ValidationError as error:
        raise InputError("its reply cannot be read: is it another version?") from error
    if reply.refused is not None:
        raise InputError(reply.refused)
    return reply
