import gc
import subprocess
import sys
from contextlib import suppress

from encoder_ablations.utils import garbage


def test_garbage_is_searched_as_before_after_each_block():
    with garbage.paused():
        assert not gc.isenabled()
        with garbage.of_new_objects():
            assert gc.isenabled()
            assert gc.get_freeze_count()
        assert not gc.isenabled()
    assert gc.isenabled()
    assert not gc.get_freeze_count()
    with suppress(ValueError), garbage.of_new_objects(), garbage.paused():
        raise ValueError
    assert gc.isenabled()
    assert not gc.get_freeze_count()


def test_a_process_ends_without_searching_for_garbage():
    program = """
import atexit, gc
from encoder_ablations.utils import garbage
atexit.register(lambda: print(gc.get_freeze_count() > 0))
garbage.not_at_exit()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\n"
