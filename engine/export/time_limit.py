"""A limit on the time that tracing for any size may take: some models' symbolic sizes explode."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from encoder_ablations.utils.errors import InputError


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End what is in the block after so many seconds.

    It works in the main thread of POSIX systems; elsewhere there is no limit.

    Raises:
        InputError: the block took longer.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise InputError(f"no result within {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, stop)
    # again and again: the code in the block may catch any exception
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
