"""Work is spread over as many threads as PyTorch may use, and forked processes can do it too."""

import multiprocessing
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from encoder_ablations.utils.kernels import in_parallel

KERNEL = """
import sys
import numpy as np
from encoder_ablations.utils.kernels import compiled

@compiled()
def double(x):
    return 2 * x

if __name__ == "__main__":
    assert double(np.float32(3)) == 6
    stats = double.stats
    print(stats.cache_path, sum(stats.cache_hits.values()))
"""


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def fill(total, step):
    result, names = np.zeros(total, int), set()

    def work(first, last):
        names.add(threading.current_thread().name)
        result[first:last] += np.arange(first, last)

    in_parallel(work, total, step)
    return result, names


@pytest.mark.parametrize(("total", "step"), [(0, 4), (1, 4), (4, 4), (1001, 4)])
def test_every_piece_is_done_once(two_threads, total, step):
    result, names = fill(total, step)
    assert np.array_equal(result, np.arange(total))
    assert len(names) <= 2


def test_one_thread_is_the_callers():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    _, names = fill(100, 4)
    torch.set_num_threads(before)
    assert names == {threading.current_thread().name}


def test_an_error_reaches_the_caller(two_threads):
    def work(first, last):
        raise ZeroDivisionError(first)

    with pytest.raises(ZeroDivisionError):
        in_parallel(work, 10, 1)


def _in_child(queue):
    queue.put(fill(1001, 4)[0].sum())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_threads_of_its_own(two_threads):
    fill(1001, 4)  # the parent's threads exist, and are not inherited
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(queue,), daemon=True)
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert queue.get() == sum(range(1001))


@pytest.mark.slow
def test_compiled_code_is_kept_for_the_next_process(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    lines = [
        subprocess.run(
            [sys.executable, "kernel.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert [line.split()[-1] for line in lines] == ["0", "1"]


@pytest.mark.slow
def test_kernels_are_not_compiled_where_they_cannot_be_kept(tmp_path):
    (tmp_path / "__pycache__").write_text("")  # a file where the folder would be
    (tmp_path / "kernel.py").write_text(KERNEL)
    environment = {**os.environ, "HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache"}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "kernel.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert "RuntimeError: cannot cache function" in done.stderr
