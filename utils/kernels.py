"""Compiled CPU kernels: how they are compiled, kept and spread over threads.

Kernels are plain loops that numba compiles. They run without Python's global lock, so ordinary
threads share the work. numba's own parallel loops are not used: their "workqueue" layer must not be
entered from two threads at once, and their OpenMP layer ends a forked process. Neither can be ruled
out where autograd, data loaders and users' threads meet.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

Function = Callable[..., Any]


def compiled(*fastmath: str, inline: bool = False) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function at its first call with given types.

    numba keeps the result for later processes in ``__pycache__`` beside the source or, where that
    is read-only, in the user's cache folder. The environment variable ``NUMBA_CACHE_DIR`` names
    another place.

    Args:
        fastmath: LLVM's flags that are allowed. Never "nnan", "ninf" or "fast": kernels must see
            NaN and infinity.
        inline: for a helper in an inner loop: its code becomes part of each kernel that calls it.

    Raises:
        RuntimeError: no place can be written to; see :func:`~.optional.no_place_for_kernels`.
    """
    import numba  # half a second to import, so only when a module of kernels is imported

    def decorate(function: Function) -> Function:
        return numba.njit(
            nogil=True, cache=True, error_model="numpy", fastmath=set(fastmath), forceinline=inline
        )(function)

    return decorate


def in_parallel(work: Callable[[int, int], object], total: int, step: int) -> None:
    """Call ``work(first, last)`` for 0..total in ranges of ``step``, on PyTorch's threads.

    The ranges do not depend on the number of threads. So results do not either, as long as no two
    ranges write to the same place. It may be called from several threads at once and in forked
    processes, but not from within ``work``.
    """
    ranges = [(first, min(first + step, total)) for first in range(0, total, step)]
    threads = min(torch.get_num_threads(), len(ranges))
    if threads < 2:
        for first, last in ranges:
            work(first, last)
    else:
        for _ in _pool(os.getpid(), threads).map(lambda bounds: work(*bounds), ranges):
            pass


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return the pool of a process: a forked child inherits the object but not its threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="kernel")
