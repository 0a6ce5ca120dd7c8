import gc
import subprocess
import sys
import weakref
from contextlib import suppress

from encoder_ablations.utils import garbage


class Knot:
    """Refers to itself, so that only a search finds it."""

    def __init__(self):
        self.me = self


def test_garbage_is_searched_as_before_after_each_block():
    with garbage.paused():
        assert not gc.isenabled()
        with garbage.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with suppress(ValueError), garbage.paused():
        raise ValueError
    assert gc.isenabled()


def test_what_a_block_has_made_is_not_searched_at_once():
    with garbage.paused():
        kept = [[] for _ in range(10_000)]
    assert gc.get_count()[0] < len(kept)


def test_what_was_made_is_searched_between_two_items():
    before, made = weakref.ref(Knot()), []
    with garbage.paused():
        for number in garbage.searched_between(range(3)):
            assert gc.get_freeze_count()
            # that of the item before is gone
            assert [each() is None for each in made] == [True] * number
            made.append(weakref.ref(Knot()))
        # what was there before the first is not looked at, nor is there a search after the last
        assert before() is not None
        assert made[-1]() is not None
    assert not gc.get_freeze_count()
    gc.collect()
    assert before() is None


def test_a_process_ends_without_searching_for_garbage():
    program = """
import atexit, gc
from encoder_ablations.utils import garbage
atexit.register(lambda: print(gc.get_freeze_count() > 0))
garbage.not_at_exit()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True\n"
