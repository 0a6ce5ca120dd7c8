"""A server's connections to its clients, by Flower."""

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

from flwr.common import (
    FitIns,
    GetPropertiesIns,
    ReconnectIns,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server import History, Server, ServerConfig, SimpleClientManager, start_server
from flwr.server.client_proxy import ClientProxy

from encoder_ablations.engine.training.federated.remote import ClientLost
from encoder_ablations.experiments.federation.connection import ServerConnection
from encoder_ablations.experiments.federation.flower import LARGEST_MESSAGE
from encoder_ablations.experiments.federation.members import Channel
from encoder_ablations.experiments.federation.messages import Arrays, Parting
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.interrupts import STOPPING

ANSWER_SECONDS = 600.0
"""How long a client may take to make its model."""
GOODBYE_SECONDS = 10.0

Reply = TypeVar("Reply")


class FlowerChannel:
    """See :class:`Channel`."""

    def __init__(self, proxy: ClientProxy, seconds: float | None) -> None:
        """Take over a connection.

        Args:
            proxy: Flower's end of it.
            seconds: how long a round may take; None = as long as it takes.
        """
        self.proxy, self.seconds = proxy, seconds

    def ask(self, kind: str, content: str, seconds: float = ANSWER_SECONDS) -> str:
        """See :class:`Channel`."""
        question = GetPropertiesIns({"kind": kind, "content": content})
        reply = _sent(partial(self.proxy.get_properties, question, seconds, None))
        return str(reply.properties.get("content", ""))

    def train(self, arrays: Arrays, content: str) -> tuple[Arrays, str]:
        """See :class:`Channel`."""
        order = FitIns(ndarrays_to_parameters(arrays), {"content": content})
        reply = _sent(partial(self.proxy.fit, order, self.seconds, None))
        return parameters_to_ndarrays(reply.parameters), str(reply.metrics.get("content", ""))

    def dismiss(self, kind: Parting, reason: str) -> None:
        """See :class:`Channel`."""
        with suppress(ClientLost):
            self.ask(kind, reason, GOODBYE_SECONDS)
            _sent(partial(self.proxy.reconnect, ReconnectIns(None), GOODBYE_SECONDS, None))


def _sent(send: Callable[[], Reply]) -> Reply:
    """Return the reply to a message.

    Raises:
        ClientLost: there is none.
    """
    try:
        return send()
    except Exception as error:  # Flower does not say which errors a lost connection ends with
        raise ClientLost(
            f"its connection has ended, or it took too long ({type(error).__name__})"
        ) from error


class _Server(Server):
    """Hands the connections to the work that is to be done with them."""

    def __init__(self, connection: ServerConnection, work: "Work") -> None:
        super().__init__(client_manager=SimpleClientManager())
        self.connection, self.work = connection, work
        self.result: int | None = None
        self.problem: BaseException | None = None
        self.handlers = {number: signal.getsignal(number) for number in STOPPING}

    def fit(self, num_rounds: int, timeout: float | None) -> tuple[History, float]:
        """Do the work; Flower's own rounds are not used."""
        # Flower has taken the signals, and would end without saving
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        try:
            self.result = self.work(self.connected)
        except BaseException as problem:  # noqa: BLE001 - raised again when Flower has ended
            self.problem = problem
        return History(), 0.0

    def connected(self) -> Mapping[str, Channel]:
        """Return the connections that there are now."""
        proxies = dict(self.client_manager().all())
        seconds = self.connection.seconds
        return {key: FlowerChannel(proxy, seconds) for key, proxy in proxies.items()}


Work = Callable[[Callable[[], Mapping[str, Channel]]], int]
"""Is given a function that returns the connections, and returns the exit code."""


def listen(connection: ServerConnection, work: Work) -> int:
    """Listen to clients while some work is done with them, and return its exit code.

    Raises:
        InputError: the address cannot be used, or as ``work`` raises.
        CannotContinue: as ``work`` raises.
    """
    server = _Server(connection, work)
    try:
        start_server(
            server_address=connection.address,
            server=server,
            config=ServerConfig(num_rounds=1),
            grpc_max_message_length=LARGEST_MESSAGE,
            certificates=connection.certificates,
        )
    except (SystemExit, RuntimeError, ValueError) as error:
        raise InputError(
            f"cannot listen at {connection.address} ({error}). Choose a free --address of this "
            "machine, and certificates that belong together."
        ) from error
    if server.problem is not None:
        raise server.problem
    assert server.result is not None
    return server.result
