"""The processes that compute the clients of a federated run."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path

from encoder_ablations.engine.training.federated.remote import News, Taken, Task
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.preparation import RunData, prepare_data
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.workers.child_process import (
    ATTEMPTS,
    DEATH,
    LOOK_SECONDS,
    ChildProcess,
    slots,
    threads_of_each,
)
from encoder_ablations.experiments.workers.clients.messages import Broken, Setup, receive, send
from encoder_ablations.segmenters.base import Segmenter


class ClientProcesses:
    """Clients of a run that are computed by processes of this machine: see :class:`RemoteClients`.

    The processes start with the first round and stay. They remember nothing of their clients, so
    that each can compute any of them, and another can take its place.
    """

    whole_rounds = False

    def __init__(
        self,
        folder: Path,
        execution: Execution,
        make_trainer: Callable[..., object],
        serve: Callable[[Connection], None],
    ) -> None:
        """Start nothing.

        Args:
            folder: of the run.
            execution: how it is computed; says how many processes there are.
            make_trainer: returns what trains a run, see :class:`Setup`; its first arguments are the
                run and its images.
            serve: what a process does with its end of a connection.
        """
        self.folder, self.execution = folder, execution
        self.make_trainer, self.serve = make_trainer, serve
        self._count = execution.client_processes
        self._prepared: tuple[RunSpec, RunData] | None = None
        self._segmenter: Segmenter | None = None
        self._processes: list[_ClientProcess] = []

    def prepare(self, spec: RunSpec) -> RunData:
        """Return the images of a run, with these clients where it has some and they are asked for.

        Raises:
            InputError: see :func:`prepare_data`.
        """
        data = prepare_data(spec)
        if self._count == 1 or spec.federation is None or spec.federation.is_local:
            return data
        self._count = min(self._count, spec.federation.clients)
        self._prepared = (spec, data)
        return replace(data, remote=self)

    def agree(self, segmenter: Segmenter, shared: Sequence[str]) -> None:
        """Take over the model; each process gets its weights before its first client."""
        self._segmenter = segmenter

    def train(self, task: Task, clients: Sequence[int]) -> Iterator[tuple[int, News]]:
        """See :class:`RemoteClients`.

        Raises:
            RuntimeError: a process has died twice with the same client.
            Exception: that a process cannot go on with.
        """
        self._start(len(clients))
        waiting, idle = deque(clients), deque(self._processes)
        busy: list[_ClientProcess] = []
        while waiting or busy:
            while waiting and idle:
                process = idle.popleft()
                process.begin(task.of(waiting.popleft()))
                busy.append(process)
            for process in _answered(busy):
                news = process.read()
                if news is None:
                    continue
                yield process.client, news
                if not isinstance(news, Taken):
                    busy.remove(process)
                    idle.append(process)

    def _start(self, clients: int) -> None:
        """Start the processes that are missing; no more than there are clients."""
        places = slots(self._count, self.execution)[:clients]
        for place in places[len(self._processes) :]:
            setup = partial(self._setup, place)
            threads = threads_of_each(self._count)
            self._processes.append(_ClientProcess(self.serve, setup, threads))

    def _setup(self, place: Execution) -> Setup:
        assert self._prepared is not None
        assert self._segmenter is not None
        spec, data = self._prepared
        state = self._segmenter.state_dict()
        return Setup(
            spec,
            data.record.class_pixels,
            {name: value.detach().cpu() for name, value in state.items()},
            partial(self.make_trainer, spec, data),
            self.folder,
            place,
            self._count,
        )

    def close(self) -> None:
        """End all processes now: none has anything to save."""
        for process in self._processes:
            process.child.kill()
            process.child.close()


class _ClientProcess:
    """A process that computes one client at a time, and is replaced if it dies."""

    def __init__(
        self,
        serve: Callable[[Connection], None],
        setup: Callable[[], Setup],
        threads: int | None,
    ) -> None:
        self.serve, self.setup, self.threads = serve, setup, threads
        self._start()

    def _start(self) -> None:
        self.child = ChildProcess(self.serve, threads=self.threads)
        self.is_set_up = False

    @property
    def client(self) -> int:
        """The number of the client that it computes."""
        [number] = self.task.own
        return number

    def begin(self, task: Task) -> None:
        """Let it compute the client of a task."""
        self.task, self.attempts = task, ATTEMPTS
        self._send()

    def _send(self) -> None:
        with suppress(ConnectionError):  # its death is noticed where its answer is read
            if not self.is_set_up:
                send(self.child.connection, self.setup())
                self.is_set_up = True
            send(self.child.connection, self.task)

    def read(self) -> News | None:
        """Return its answer; None if it has died, and its client is begun again.

        Raises:
            RuntimeError: it has died too often.
            Exception: that it cannot go on with.
        """
        try:
            answer: News | Broken = receive(self.child.connection)
        except DEATH:
            self._begin_again()
            return None
        if isinstance(answer, Broken):
            raise answer.error
        return answer

    def _begin_again(self) -> None:
        self.child.kill()
        self.child.close()
        self.attempts -= 1
        if not self.attempts:
            raise RuntimeError(
                f"the process of client {self.client} died {ATTEMPTS} times, killed from outside; "
                "most often memory has run out"
            )
        self._start()
        self._send()


def _answered(busy: Sequence[_ClientProcess]) -> list[_ClientProcess]:
    """Return the processes that have an answer, or have died."""
    connections = [process.child.connection for process in busy]
    ready = wait(connections, LOOK_SECONDS)
    for process in busy:
        if not process.child.process.is_alive():
            # its children would hold the connection open
            process.child.kill()
    ready += [each for each in wait(connections, 0) if each not in ready]
    return [process for process in busy if process.child.connection in ready]
