"""Repeat a look at a study until it has ended, or until Ctrl-C."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from encoder_ablations.utils.interrupts import Stopped, StoppedWatching, exit_code

SECONDS = 2.0
"""The least time between two looks."""
PAUSE = 4.0
"""A pause lasts at least this many times as long as a look, which reads all records."""


def watch(look: Callable[[], bool]) -> None:
    """Call ``look`` until it returns True, or until Ctrl-C.

    Raises:
        Stopped: another signal than Ctrl-C asks the process to end.
    """
    try:
        while True:
            began = time.monotonic()
            if look():
                return
            time.sleep(max(SECONDS, PAUSE * (time.monotonic() - began)))
    except Stopped:
        raise
    except KeyboardInterrupt:
        return


@contextmanager
def only_watching() -> Iterator[None]:
    """Within the block a request to stop says of itself that no work is stopped by it.

    Raises:
        StoppedWatching: there was such a request.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise StoppedWatching(exit_code(stop) - 128) from stop
