"""Options of the commands that run a study."""

import argparse
from dataclasses import dataclass

from encoder_ablations.experiments import options
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.workers.ray_cluster import Cluster
from encoder_ablations.utils.errors import InputError

PER_GPU = 0
"""Stands for as many processes as this machine has GPUs, which only PyTorch knows."""


@dataclass(frozen=True)
class Choices:
    """What the command line says about how a study is run.

    Attributes:
        processes: how many runs at a time on this machine; :data:`PER_GPU` = one on each GPU,
            None = one, in this process.
        cluster: where Ray runs them, if it does.
        retry_failed: whether failed runs are repeated.
        extend: whether a changed study may go on in the folder of the old one.
        dry_run: only print the plan.
    """

    execution: Execution
    processes: int | None = None
    cluster: Cluster | None = None
    retry_failed: bool = False
    extend: bool = False
    dry_run: bool = False


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`read_choices` reads."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan, what is done and what is left; no more",
    )
    parser.add_argument("--retry-failed", action="store_true", help="repeat failed runs, too")
    parser.add_argument(
        "--extend", action="store_true", help="go on in the folder although the study has changed"
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        help="N runs at a time: on the GPUs in turn, or the CPU; gpus: one on each GPU",
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="run on Ray: local, HOST:PORT or ray://HOST:PORT"
    )
    parser.add_argument(
        "--cpus-per-run", type=int, default=1, metavar="N", help="cores of a run on Ray (default 1)"
    )
    parser.add_argument(
        "--gpus-per-run",
        type=float,
        metavar="N",
        help="GPUs of a run on Ray (default 1 if there are)",
    )


def read_choices(arguments: argparse.Namespace) -> Choices:
    """Return what the options say.

    Raises:
        InputError: they contradict each other, or a number is out of range.
    """
    return Choices(
        options.read_training(arguments),
        _read_processes(arguments.processes),
        _read_cluster(arguments),
        arguments.retry_failed,
        arguments.extend,
        arguments.dry_run,
    )


def _read_processes(given: str | None) -> int | None:
    """Return how many runs there are at a time; :data:`PER_GPU` for one on each GPU."""
    if given is None:
        return None
    if given == "gpus":
        return PER_GPU
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"--processes {given}: allowed are 1 and more, or gpus.")
    return int(given)


def _read_cluster(arguments: argparse.Namespace) -> Cluster | None:
    if arguments.cpus_per_run < 1 or (arguments.gpus_per_run or 0) < 0:
        raise InputError("--cpus-per-run must be 1 or more, --gpus-per-run 0 or more.")
    if not arguments.ray:
        return None
    if arguments.processes is not None:
        raise InputError(
            "--processes and --ray exclude each other: Ray decides how many runs there are at a "
            "time."
        )
    if arguments.device.startswith("cuda:"):
        raise InputError(
            f"--device {arguments.device} with --ray: Ray chooses each run's GPU, and a run sees "
            "only that one. Say --device cuda."
        )
    return Cluster(arguments.ray, arguments.cpus_per_run, arguments.gpus_per_run)
