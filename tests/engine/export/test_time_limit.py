"""A limit on time ends what would go on for ever, and leaves nothing behind."""

import signal
import threading
import time

import pytest

from encoder_ablations.engine.export.time_limit import time_limit
from encoder_ablations.utils.errors import InputError


def test_what_takes_too_long_is_ended():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(InputError, match="within"), time_limit(0.05):
        threading.Event().wait(30)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_ends_in_time_is_left_alone():
    with time_limit(0.2):
        value = 1
    time.sleep(0.3)
    assert value == 1


def test_other_threads_have_no_limit():
    done = []

    def work():
        with time_limit(0.01):
            time.sleep(0.05)
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
