"""The report of simulated studies of 1,000 and 10,000 runs: processor time, wall time and peak
memory of ``ablate report``."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from simulated_study import SIZES, write_simulated_study

TARGETS = {1000: "6 s of processor time", 10_000: "40 s of processor time, 0.8 GB"}

PROGRAM = """
import sys
from encoder_ablations.experiments.cli import main
main(["report", *sys.argv[1:]])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""Peak memory by VmHWM: that of getrusage would include what the parent had when it started the
process."""


class Cost(NamedTuple):
    """What a report took.

    Attributes:
        processor: seconds, of the user and of the system.
        wall: seconds.
        memory: most bytes held.
    """

    processor: float
    wall: float
    memory: int


def run(seconds: float) -> Iterator[str]:
    """One report of each size in a process of its own, start included; ``seconds`` is not used,
    nothing to compare."""
    with tempfile.TemporaryDirectory() as folder:
        for runs, size in SIZES.items():
            study = Path(folder) / str(runs)
            write_simulated_study(study, size)
            cost = measure(study)
            times = f"{cost.processor:.1f} s of processor time, {cost.wall:.1f} s"
            measured = f"{times}, {cost.memory / 1e9:.2f} GB"
            yield f"report of {runs:,} runs: {measured}; target {TARGETS[runs]}"


def measure(study: Path) -> Cost:
    """Return what a report takes."""
    wall, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(study)], capture_output=True, text=True, check=True
    )
    took, after = time.perf_counter() - wall, os.times()
    processor = after.children_user - before.children_user
    processor += after.children_system - before.children_system
    return Cost(processor, took, 1024 * int(done.stdout.splitlines()[-1]))
