"""How long commands take that compute nothing, against Python's own start."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from statistics import median

from encoder_ablations.experiments.cli import summaries

COMMANDS = [
    *(f"{name} --help" for name in summaries()),
    "encoders",
    "keys",
    "status demo --output absent",
    "run demo --dry-run --output absent",
    "run demo --device gpu",
    "report absent",
]
TARGET = 1.0
"""Seconds, on an idle machine."""
PROGRAM = "import sys; from encoder_ablations.experiments.cli import main; sys.exit(main())"
REPEATS = 3


def run(seconds: float) -> Iterator[str]:
    """One row for each command, the median of three; ``seconds`` is not used."""
    with tempfile.TemporaryDirectory() as folder:
        bare = measure("pass", [], folder)
        for line in COMMANDS:
            took = measure(PROGRAM, line.split(), folder)
            ratio = f"{took / bare:.0f} × python -c pass"
            yield f"ablate {line}: {took:.2f} s, {ratio}; target {TARGET:g} s"


def measure(program: str, arguments: list[str], folder: str) -> float:
    """Median wall seconds of a program in a process of its own."""
    return median(
        _once([sys.executable, "-c", program, *arguments], folder) for _ in range(REPEATS)
    )


def _once(command: list[str], folder: str) -> float:
    begin = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False, cwd=folder)
    return time.perf_counter() - begin
