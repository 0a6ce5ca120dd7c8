"""How seconds and memory grow with a size: measured at several sizes, and a fitted exponent."""

import contextlib
import gc
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LINEAR = 1.1
"""Largest exponent that counts as linear."""
PATIENCE, MOST = 0.5, 20
"""Work of less than so many seconds is repeated, at most so often; the least time counts."""


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time, and bytes of memory beyond what the process held before.

    Memory that Python had freed but kept, and uses again, is not among them.
    """

    seconds: float
    memory: int


@dataclass(frozen=True)
class Growth:
    """The costs of one job at several sizes, ascending.

    The exponent is the slope of a straight line through the logarithms, by least squares.
    """

    job: str
    sizes: Sequence[int]
    costs: Sequence[Cost]

    @property
    def exponent(self) -> float:
        """1 for cost that grows as the size does; less where a fixed part prevails."""
        seconds = [cost.seconds for cost in self.costs]
        slope, _ = np.polyfit(np.log(self.sizes), np.log(seconds), 1)
        return float(slope)

    def line(self) -> str:
        """One row of the benchmark's table."""
        each = [
            f"{size:,}: {cost.seconds:.3g} s {cost.memory / 2**20:.0f} MiB"
            for size, cost in zip(self.sizes, self.costs, strict=True)
        ]
        return (
            f"{self.job}: exponent {self.exponent:.2f}; target ≤ {LINEAR}; processor time and "
            f"memory by size: {', '.join(each)}"
        )


def growth(
    job: str,
    sizes: Sequence[int],
    prepare: Callable[[int], Callable[[], object]],
    most: int = MOST,
) -> Growth:
    """Measure a job at each size; ``prepare`` returns the work, and is not measured."""
    return Growth(job, sizes, [cost(prepare(size), most) for size in sizes])


def cost(work: Callable[[], object], most: int) -> Cost:
    """Do some work, at most so often, and return what it cost."""
    memory, times = 0, []
    while not times or (len(times) < most and sum(times) < PATIENCE):
        gc.collect()  # what it would free meanwhile is not the work's
        _forget_peak()
        before, begin = _status("VmRSS"), time.process_time()
        work()
        times.append(time.process_time() - begin)
        memory = max(memory, _status("VmHWM") - before)
    return Cost(max(min(times), 1e-6), memory)


@contextlib.contextmanager
def silent():
    """Nothing is printed meanwhile."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def _forget_peak() -> None:
    """Let VmHWM begin anew; see proc(5), clear_refs."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """Bytes of an entry of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))
