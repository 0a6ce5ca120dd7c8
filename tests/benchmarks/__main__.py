"""``ablate bench``: the speed of the package's own code against what it replaces, measured in one run."""

import importlib
import sys
from collections.abc import Sequence

import torch

from encoder_ablations.experiments import options
from encoder_ablations.experiments.benchmarks.timing import HEADER
from encoder_ablations.experiments.cli import command
from encoder_ablations.utils.environment import processor, versions
from encoder_ablations.utils.errors import unknown

EXAMPLES = """  ablate bench
  ablate bench evaluation --seconds 20
  ablate bench report                     1,000 and 10,000 simulated runs; minutes"""

BENCHMARKS = ["adapter", "cache", "data", "evaluation", "op", "report", "training"]
SLOW = ("report",)
"""Only when asked for."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate bench --help``."""
    parser = options.make_parser(
        "bench", "Times our code and what it replaces in turn; prints the ratios.", EXAMPLES
    )
    names = f"which ones (default all but {', '.join(SLOW)}): {', '.join(BENCHMARKS)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=names)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="for each row, at least five pairs (default 10)"
    )
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in BENCHMARKS:
            raise unknown("benchmark", name, BENCHMARKS)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    installed = versions()
    print(
        f"{processor()}, {torch.get_num_threads()} threads, torch {installed['torch']}, timm {installed['timm']}"
    )
    print(HEADER)
    for name in arguments.names or [name for name in BENCHMARKS if name not in SLOW]:
        module = importlib.import_module(f"encoder_ablations.experiments.benchmarks.{name}")
        for line in module.run(arguments.seconds):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
