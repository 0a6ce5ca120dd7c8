"""Requests to stop: Ctrl-C, SIGTERM of schedulers, SIGHUP of a terminal that closes."""

import errno
import os
import signal
import termios
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop.

    Attributes:
        code: the exit code by the convention of shells, 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


class StoppedWatching(Stopped):
    """A signal asked a command to stop that only watches the work of others."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return 128 + the number of the signal that stopped this process; 130 for Ctrl-C."""
    if isinstance(stop, Stopped):
        return stop.code
    return 128 + signal.SIGINT


class Interrupt:
    """Whether a signal arrived within :func:`deferred_interrupt`, and which."""

    number: int | None = None

    @property
    def requested(self) -> bool:
        """Whether one arrived."""
        return self.number is not None

    def stop(self) -> None:
        """End the work now.

        Raises:
            Stopped: always; with Ctrl-C's number if the signal reached another process.
        """
        raise Stopped(self.number or signal.SIGINT)


@contextmanager
def deferred_interrupt() -> Iterator[Interrupt]:
    """Within the block the first signal only sets ``requested``; a second one interrupts at once.

    Outside the main thread, where signals cannot be handled, nothing is changed.
    """
    interrupt = Interrupt()

    def note(number: int, _frame: FrameType | None) -> None:
        leave_closed_terminal()
        if interrupt.requested:
            raise Stopped(number)
        interrupt.number = number

    with _handling(note, STOPPING):
        yield interrupt


@contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP raise ``Stopped``, as Ctrl-C interrupts."""

    def stop(number: int, _frame: FrameType | None) -> None:
        leave_closed_terminal()
        raise Stopped(number)

    with _handling(stop, (signal.SIGTERM, signal.SIGHUP)):
        yield


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[signal.Signals]
) -> Iterator[None]:
    """Let ``handler`` handle signals within the block.

    SIGTERM and SIGHUP that are ignored stay so: ``nohup`` ignores SIGHUP, and the processes of a
    study leave both to their parent, which asks for SIGINT.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {
        number: signal.getsignal(number)
        for number in numbers
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    }
    for number in previous:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def held_back() -> Iterator[None]:
    """Within the block requests to stop wait, also in processes that are started in it.

    A new process calls :func:`leave_to_parent`. Until then a signal would end it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent() -> None:
    """Ignore requests to stop in a process whose parent ends it.

    Terminals and schedulers send signals to all processes of a command.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    # what has waited since the process began is ignored, too
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def leave_closed_terminal() -> None:
    """Send what is printed from now on nowhere, where the terminal that it went to has closed.

    Every word would otherwise be an error, also of a progress bar, and end what should be saved.
    """
    for stream in (1, 2):
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
