"""A client's connection to its server, by Flower."""

import socket
import time

import grpc
import numpy as np
from flwr.client import NumPyClient, start_client

from encoder_ablations.experiments.federation.client import FederatedClient
from encoder_ablations.experiments.federation.connection import ClientConnection, host_and_port
from encoder_ablations.experiments.federation.flower import LARGEST_MESSAGE
from encoder_ablations.utils.errors import CannotContinue, InputError

PAUSE = 0.5
"""Seconds between two attempts to reach the server."""

Scalars = dict[str, bool | bytes | float | int | str]


class _Adapter(NumPyClient):
    """Passes Flower's messages on."""

    def __init__(self, own: FederatedClient) -> None:
        self.own = own

    def get_properties(self, config: Scalars) -> Scalars:
        """Return the reply to a question."""
        return {"content": self.own.answer(str(config["kind"]), str(config["content"]))}

    def fit(
        self, parameters: list[np.ndarray], config: Scalars
    ) -> tuple[list[np.ndarray], int, Scalars]:
        """Return the client's model after a round, its images, and its report."""
        arrays, report = self.own.train(parameters, str(config["content"]))
        return arrays, self.own.facts.images, {"content": report}


def take_part(own: FederatedClient, connection: ClientConnection) -> None:
    """Answer the server until it sends this client away.

    Raises:
        InputError: server and client do not belong together.
        CannotContinue: the server does not answer, or has stopped.
    """
    _wait_for_server(connection)
    try:
        start_client(
            server_address=connection.address,
            client=_Adapter(own).to_client(),
            grpc_max_message_length=LARGEST_MESSAGE,
            root_certificates=connection.root,
            insecure=connection.insecure,
        )
    except grpc.RpcError as error:
        raise CannotContinue(
            f"the server {connection.address} has gone after {own.rounds} rounds of this client "
            f"({_reason(error)}). The same command joins it again."
        ) from error
    if own.refusal is not None:
        raise InputError(own.refusal)
    if not own.finished:
        raise CannotContinue(
            f"the server {connection.address} has stopped before the end: {own.stopped}. The same "
            "command joins it again."
        )


def _reason(error: grpc.RpcError) -> str:
    details = " ".join(str(error.details()).split())
    return f"{error.code().name}: {details}"


def _wait_for_server(connection: ClientConnection) -> None:
    """Wait until the server listens.

    Raises:
        CannotContinue: it does not within the time.
    """
    place = host_and_port(connection.address, "--server")
    begun = time.monotonic()
    while True:
        try:
            socket.create_connection(place, timeout=max(connection.seconds, PAUSE)).close()
            return
        except OSError as error:
            if time.monotonic() - begun >= connection.seconds:
                raise CannotContinue(
                    f"no server answers at {connection.address} ({error.strerror or error}). "
                    "Start it, correct --server, or wait longer with --wait SECONDS."
                ) from error
        time.sleep(PAUSE)
