"""Processes of a command that compute for it, and end with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_end
from typing import Any

import torch

from encoder_ablations.experiments.cli import quiet_imports
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.interrupts import held_back, leave_to_parent

ATTEMPTS = 2
"""How often work is begun if its process dies."""
LOOK_SECONDS = 1.0
"""After so many seconds without an answer it is looked whether a process still lives."""
DEATH = (EOFError, OSError)
"""What reading from a process raises that has died, also in the middle of a message."""
SPAWN = multiprocessing.get_context("spawn")


class ChildProcess:
    """A process that leads a group of its own, which its children belong to.

    It leaves signals to its parent. If the parent dies, so does the process. It is no process of a
    ``ProcessPoolExecutor``: Python tells the pools' threads at exit to end, and prints a traceback
    if such a thread ends at that moment because its process was killed.

    Attributes:
        connection: to the process; its death closes the other end.
    """

    def __init__(self, function: Callable[..., None], *further: Any, threads: int | None) -> None:
        """Start the process.

        Args:
            function: is called there with the other end of ``connection``.
            *further: its further arguments.
            threads: see :func:`threads_of_each`.
        """
        self.connection, theirs = SPAWN.Pipe()
        arguments = (threads, function, theirs, *further)
        self.process = SPAWN.Process(target=_begin, args=arguments)
        with held_back():
            self.process.start()
        theirs.close()  # now held by the process alone, so that its death is seen here

    def close(self) -> None:
        """Let the process end by itself: nobody will send it anything."""
        self.connection.close()

    def kill(self) -> None:
        """End the process and its children now, whatever they do."""
        if self.process.pid is not None:
            with suppress(ProcessLookupError):  # it leads no group before it has begun
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()


def slots(count: int, execution: Execution) -> list[Execution]:
    """Return what each of ``count`` processes computes on.

    GPUs are given in turn. Without any, every process takes a share of the CPU's cores. A count of
    0 is one process for each GPU.

    Raises:
        InputError: there is to be one for each GPU, but there is no GPU.
    """
    gpus = torch.cuda.device_count()
    count = count or gpus
    if not count:
        raise InputError(
            "--processes gpus: PyTorch sees no GPU here. Give a number of processes, or leave the "
            "option out."
        )
    if execution.device not in ("auto", "cuda"):
        return [execution] * count
    if gpus:
        return [replace(execution, device=f"cuda:{index % gpus}") for index in range(count)]
    if execution.device == "auto":
        execution = replace(execution, device="cpu")
    return [execution] * count


def threads_of_each(processes: int) -> int | None:
    """Return how many threads each of several processes computes with on the CPU.

    None leaves it to PyTorch, where ``OMP_NUM_THREADS`` says it.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return None
    return max(1, len(os.sched_getaffinity(0)) // processes)


def _begin(
    threads: int | None, function: Callable[..., None], connection: Connection, *further: Any
) -> None:
    quiet_imports()
    leave_to_parent()
    os.setpgid(0, 0)
    if threads is not None:
        torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function(connection, *further)


def _end_with_parent() -> None:
    """Wait for the end of the parent process, and end this one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)
