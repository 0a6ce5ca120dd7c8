"""What a command and the processes that compute its clients send to each other."""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from encoder_ablations.engine.training.federated.aggregation import State
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.spec import RunSpec


@dataclass(frozen=True)
class Setup:
    """What a process is told before its first client.

    Attributes:
        spec: the run.
        class_pixels: of each class in the images of all clients.
        weights: of the run's model; those that training does not change stay so.
        make_trainer: returns what trains the model, from the model, the run's folder, an
            accelerator, an execution and callbacks.
        folder: of the run, in which the process writes nothing.
        execution: how the process computes.
        processes: how many there are of its kind; they share the cores of the machine.
    """

    spec: RunSpec
    class_pixels: Sequence[int]
    weights: State
    make_trainer: Callable[..., object]
    folder: Path
    execution: Execution
    processes: int


@dataclass(frozen=True)
class Broken:
    """The answer of a process that cannot go on.

    Attributes:
        error: that the run ends with.
    """

    error: Exception


def send(connection: Connection, value: Any) -> None:
    """Send a value, with copies of its tensors.

    ``Connection.send`` would share memory between the processes, and fail if the sender has died.
    """
    connection.send_bytes(pickle.dumps(value))


def receive(connection: Connection) -> Any:
    """Return a value that :func:`send` has sent.

    Raises:
        EOFError: the other end is closed.
        OSError: it was closed in the middle of the message.
    """
    return pickle.loads(connection.recv_bytes())


def sendable(error: Exception) -> Exception:
    """Return an error as another process can read it: some take more than a message."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever the class of the error raises
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
