"""Look at a study again and again while others compute it."""

import time
from collections.abc import Callable

from encoder_ablations.experiments.studies.known import Located
from encoder_ablations.experiments.studies.plan_table import Standing
from encoder_ablations.utils.interrupts import Stopped

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


def has_ended(located: Located, standing: Standing) -> bool:
    """Return whether every run of a study has ended, and none follows from their results."""
    return not located.following and not standing.of("running", "interrupted", "not begun")
