"""``make bench``: the speed of the package's own code against what it replaces, in one run.

``make bench`` alone measures everything but the slow ones. For one of them, longer:
``make bench ARGS="evaluation --seconds 20"``.
"""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from bench_timing import HEADER

from encoder_ablations.experiments.cli import command
from encoder_ablations.utils.environment import processor, versions

BENCHMARKS = ["adapter", "cache", "data", "evaluation", "op", "predict", "private", "report"]
BENCHMARKS += ["startup", "study", "training"]
SLOW = ["lint", "raster", "scaling"]
"""Take minutes: only when asked for."""


def main(argv: Sequence[str]) -> int:
    """Print one line for each comparison, with its target."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {BENCHMARKS + SLOW}")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="for each row, at least five pairs (default 10)"
    )
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    parser.add_argument(
        "--sides", type=int, nargs="+", metavar="PIXELS", help="of the rasters (raster only)"
    )
    parser.add_argument(
        "--shrink", type=int, default=1, metavar="N", help="divide sizes by N (scaling only)"
    )
    parser.add_argument("--rows-only", action="store_true", help="print no header")
    arguments = parser.parse_args(argv)
    if arguments.shrink < 1:
        parser.error(f"--shrink {arguments.shrink}: allowed are 1 and more")
    unknown = set(arguments.names) - {*BENCHMARKS, *SLOW}
    if unknown:
        parser.error(f"no benchmark is called {sorted(unknown)}; there are {BENCHMARKS + SLOW}")
    if not arguments.rows_only:
        _print_header(arguments.threads)
    names = arguments.names or BENCHMARKS
    if len(names) > 1:
        return _print_apart(names, argv)
    _print_rows(names[0], arguments)
    return 0


def _print_header(threads: int | None) -> None:
    if threads:
        torch.set_num_threads(threads)
    installed = versions()
    print(f"{processor()}, {torch.get_num_threads()} threads", end=", ")
    print(f"torch {installed['torch']}, timm {installed['timm']}")
    print(HEADER, flush=True)


def _print_apart(names: Sequence[str], argv: Sequence[str]) -> int:
    """Run each benchmark in a process of its own.

    Memory that one benchmark leaves to its process would make parts of the next one faster.
    """
    options = [word for word in argv if word not in names]
    for name in names:
        program = [sys.executable, str(Path(__file__).parent), name, *options, "--rows-only"]
        if subprocess.run(program).returncode != 0:
            return 1
    return 0


def _print_rows(name: str, arguments: argparse.Namespace) -> None:
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    benchmark = importlib.import_module(f"bench_{name}")
    if name == "raster" and arguments.sides:
        benchmark.SIDES = arguments.sides
    if name == "scaling":
        benchmark.SHRINK = arguments.shrink
    for line in benchmark.run(arguments.seconds):
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
