"""Options of the commands that run a study."""

import argparse
from dataclasses import dataclass, replace

from encoder_ablations.experiments import options
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.workers.ray_cluster import Cluster
from encoder_ablations.experiments.workers.slurm.parameters import (
    EXAMPLE,
    Slurm,
    read_parameters,
)
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
        slurm: how they become jobs of SLURM, if they do.
        retry_failed: whether failed runs are repeated.
        extend: whether a changed study may go on in the folder of the old one.
        dry_run: only print the plan.
    """

    execution: Execution
    processes: int | None = None
    cluster: Cluster | None = None
    slurm: Slurm | None = None
    retry_failed: bool = False
    extend: bool = False
    dry_run: bool = False

    @property
    def several_runs(self) -> bool:
        """Whether other processes than this one compute the runs."""
        return any((self.processes, self.cluster, self.slurm))


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
        "--client-processes",
        type=int,
        default=1,
        metavar="N",
        help="N clients of a federated run at a time, see docs/federated.md (default 1: one after "
        "another)",
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
    _add_slurm_options(parser)


def _add_slurm_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--slurm",
        metavar="NAME=VALUE,…",
        help=f"run as jobs of SLURM: {EXAMPLE.removeprefix('--slurm ')}, see docs/cluster.md",
    )
    parser.add_argument(
        "--slurm-setup",
        action="append",
        default=[],
        metavar="LINE",
        help="a line of shell that each job begins with, e.g. 'module load cuda'; may be repeated",
    )
    parser.add_argument(
        "--runs-per-job", type=int, metavar="N", help="runs of a job of SLURM (default 1)"
    )
    parser.add_argument("--no-wait", action="store_true", help="submit the jobs of SLURM and leave")


def read_choices(arguments: argparse.Namespace) -> Choices:
    """Return what the options say.

    Raises:
        InputError: they contradict each other, or a number is out of range.
    """
    execution = options.read_training(arguments)
    return Choices(
        replace(execution, client_processes=_read_client_processes(arguments)),
        _read_processes(arguments.processes),
        _read_cluster(arguments),
        _read_slurm(arguments),
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


def _read_client_processes(arguments: argparse.Namespace) -> int:
    """Return how many processes compute the clients of a federated run."""
    count: int = arguments.client_processes
    if count < 1:
        raise InputError(f"--client-processes {count}: allowed are 1 and more.")
    others = {
        "--processes": arguments.processes,
        "--ray": arguments.ray,
        "--slurm": arguments.slurm,
        "--profile": getattr(arguments, "profile", False),
    }
    given = [option for option, value in others.items() if value]
    if count > 1 and given:
        raise InputError(
            f"--client-processes {count} and {given[0]} exclude each other: the clients of one run "
            "at a time are divided among processes of this machine. Leave out one of them."
        )
    return count


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
    _refuse_one_gpu(arguments.device, "Ray")
    return Cluster(arguments.ray, arguments.cpus_per_run, arguments.gpus_per_run)


def _read_slurm(arguments: argparse.Namespace) -> Slurm | None:
    if arguments.slurm is None:
        _refuse_without_slurm(arguments)
        return None
    if arguments.processes or arguments.ray:
        raise InputError(
            "--slurm, --ray and --processes exclude each other: SLURM decides how many runs there "
            "are at a time (array_parallelism=N limits them)."
        )
    _refuse_one_gpu(arguments.device, "SLURM")
    runs_per_job = arguments.runs_per_job
    if runs_per_job is None:
        runs_per_job = 1
    if runs_per_job < 1:
        raise InputError(f"--runs-per-job {runs_per_job}: allowed are 1 and more.")
    parameters = read_parameters(arguments.slurm, arguments.slurm_setup)
    return Slurm(parameters, runs_per_job, not arguments.no_wait)


def _refuse_without_slurm(arguments: argparse.Namespace) -> None:
    given = {
        "--slurm-setup": arguments.slurm_setup,
        "--runs-per-job": arguments.runs_per_job,
        "--no-wait": arguments.no_wait,
    }
    for option, value in given.items():
        if value:
            raise InputError(f"{option} is about jobs of SLURM; add {EXAMPLE}.")


def _refuse_one_gpu(device: str, scheduler: str) -> None:
    if device.startswith("cuda:"):
        raise InputError(
            f"--device {device}: {scheduler} chooses each run's GPU, and a run sees only that one. "
            "Say --device cuda."
        )
