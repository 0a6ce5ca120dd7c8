"""The report of simulated studies of 1,000 and 10,000 runs: seconds and peak memory of ``ablate
report``."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from simulated_study import SIZES, write_simulated_study

TARGETS = {1000: "10 s and 1 GB", 10_000: "90 s"}

PROGRAM = """
import sys
from encoder_ablations.experiments.commands.report import main
main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""Peak memory by VmHWM: that of getrusage would include what the parent had when it started the
process."""


def run(seconds: float) -> Iterator[str]:
    """One report of each size in a process of its own, start included; ``seconds`` is not used,
    nothing to compare."""
    with tempfile.TemporaryDirectory() as folder:
        for runs, size in SIZES.items():
            study = Path(folder) / str(runs)
            write_simulated_study(study, size)
            took, memory = measure(study)
            measured = f"{took:.1f} s, {memory / 1e9:.2f} GB"
            yield f"report of {runs:,} runs: {measured}; target {TARGETS[runs]}"


def measure(study: Path) -> tuple[float, int]:
    """Wall seconds and peak bytes of a report."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(study)], capture_output=True, text=True, check=True
    )
    return time.perf_counter() - begin, 1024 * int(done.stdout.splitlines()[-1])
