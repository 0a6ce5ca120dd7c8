"""Compute the runs of a study on a Ray cluster, a task each, with results in a shared folder."""

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encoder_ablations.experiments.runs.failure import record_failure
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers.display import Display
from encoder_ablations.experiments.workers.job import LOCK_SECONDS, Job
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.ray_head import Head, try_port
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import StorageError
from encoder_ablations.utils.optional import missing

RETRIES = 3
"""How often Ray begins a run anew if its worker or machine was lost."""
LOOK_SECONDS = 2.0
LOOKED_AT = 64
STOP_SECONDS = 120.0
PASSED_ON = ("DATASETS_ROOT", "HF_HOME", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "PYTHONPATH")
"""Environment variables that the workers get from here."""


@dataclass(frozen=True)
class Cluster:
    """The address of a cluster, and what each run needs of it.

    Attributes:
        address: "local" starts one on this machine; "HOST:PORT" or "ray://HOST:PORT" finds one.
        cpus: cores of a run.
        gpus: GPUs of a run; None = 1 where the cluster has any.
    """

    address: str
    cpus: int = 1
    gpus: float | None = None


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connect to Ray for the time of the block.

    Raises:
        InputError: Ray is missing or does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise missing("ray", error) from error
    _connect(ray, cluster.address)
    try:
        yield
    finally:
        ray.shutdown()


def run_on_ray(runs: Sequence[PlannedRun], job: Job, display: Display, cluster: Cluster) -> None:
    """Hand all runs to Ray and follow them; to be called within :func:`connected`.

    Ctrl-C stops each of them after the step it is in.

    Raises:
        InputError: no machine is large enough, or results do not arrive.
    """
    import ray

    gpus = _gpus(ray, cluster, job.execution.device)
    device = "cpu"
    if gpus:
        device = job.execution.device
    job = replace(job, execution=replace(job.execution, device=device), lock_seconds=LOCK_SECONDS)
    task = ray.remote(num_cpus=cluster.cpus, num_gpus=gpus, max_retries=RETRIES)(_compute_on_worker)
    placed = [replace(run, folder=run.folder.absolute()) for run in runs]
    tasks = {task.remote(run, job, str(Path.cwd())): run for run in placed}
    _follow(ray, tasks, display, Head(_head_address(ray, cluster)))


def _head_address(ray: Any, cluster: Cluster) -> str:
    """Return HOST:PORT of what this process is connected to."""
    if cluster.address != "local":
        return cluster.address.removeprefix("ray://")
    address: str = ray.get_runtime_context().gcs_address
    return address


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster.

    Raises:
        InputError: the address is not one, or nobody answers there.
    """
    if address != "local":
        _check_reachable(address)
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": _variables()},
            log_to_driver=False,
            logging_level="ERROR",
            # only a cluster that is started here may be told what it has
            include_dashboard={"local": False}.get(address),
        )
    except (ConnectionError, TimeoutError, RuntimeError, ValueError, ImportError) as error:
        raise _no_answer(address, error) from error


def _check_reachable(address: str) -> None:
    """Check ``HOST:PORT`` or ``ray://HOST:PORT`` at once, where Ray itself would try for minutes.

    Raises:
        InputError: it is no such address, or nobody answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--ray {address}: allowed are local, HOST:PORT and ray://HOST:PORT.")
    try:
        try_port(f"{host}:{port}")
    except (OSError, OverflowError) as error:
        raise _no_answer(address, error) from error


def _variables() -> dict[str, str]:
    """Return the environment variables that the workers get from here."""
    found = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if "DATASETS_ROOT" in found:
        found["DATASETS_ROOT"] = str(Path(found["DATASETS_ROOT"]).absolute())
    return found


def _no_answer(address: str, error: Exception) -> InputError:
    reason = " ".join(str(error).split()).rstrip(".")
    return InputError(
        f"no Ray cluster answers at '{address}' ({reason}). Start one with  ray start --head "
        "--port 6379  and say --ray HOST:6379, or --ray local for this machine alone; a cluster "
        "with tokens wants RAY_AUTH_MODE=token here, too. See docs/cluster.md."
    )


def _gpus(ray: Any, cluster: Cluster, device: str) -> float:
    """Return how many GPUs a run gets.

    Raises:
        InputError: no machine of the cluster can ever take a run, or none has the device.
    """
    most_cpus, most_gpus = _most(ray, "CPU"), _most(ray, "GPU")
    gpus = cluster.gpus
    if gpus is None:
        gpus = int(most_gpus > 0 and device != "cpu")
    if device == "cuda" and not gpus:
        reason = "no machine of the cluster has a GPU"
        if most_gpus:
            reason = "--gpus-per-run 0 gives it none"
        raise InputError(
            f"--device cuda asks for a GPU, but {reason}. Say --device cpu, or --gpus-per-run 1 "
            "where machines have GPUs (ray start --num-gpus N says how many)."
        )
    if cluster.cpus > most_cpus or gpus > most_gpus:
        raise InputError(
            f"a run asks for {cluster.cpus} cores and {gpus:g} GPUs, but the largest machines of "
            f"the cluster offer {most_cpus:g} cores and {most_gpus:g} GPUs. Change --cpus-per-run "
            "or --gpus-per-run."
        )
    return gpus


def _most(ray: Any, kind: str) -> float:
    """Return the most of a resource that one machine of the cluster has."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return max((machine.get(kind, 0) for machine in machines), default=0)


def _follow(ray: Any, tasks: Mapping[Any, PlannedRun], display: Display, head: Head) -> None:
    """Show how the runs get on until all have ended.

    Raises:
        CannotContinue: the head node is lost.
        InputError: results do not arrive.
    """
    pending = list(tasks)
    started = now()
    try:
        while pending:
            done, pending = ray.wait(pending, timeout=LOOK_SECONDS)
            for reference in done:
                display.done(_outcome(ray, reference, tasks[reference], started, head))
            display.look([tasks[reference] for reference in pending[:LOOKED_AT]])
            head.check()
    except ConnectionError as error:  # of ray://HOST:PORT
        raise head.lost(error) from error
    except (KeyboardInterrupt, InputError):
        print(
            "stopping: every run finishes and saves its step (Ctrl-C again: at once)",
            file=sys.stderr,
        )
        for reference in pending:
            ray.cancel(reference)
        ray.wait(pending, num_returns=len(pending), timeout=STOP_SECONDS)
        raise


def _outcome(ray: Any, reference: Any, run: PlannedRun, started: str, head: Head) -> Outcome:
    """Return what became of a run; one whose machines were lost too often is recorded as failed."""
    try:
        result: Outcome | InputError = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        head.wait()  # no run is to blame where the whole cluster is lost
        reason = RuntimeError(f"Ray lost it {RETRIES + 1} times: {' '.join(str(error).split())}")
        return Outcome.of(record_failure(run.spec, run.folder, reason, started, "cpu"))
    if isinstance(result, InputError):
        raise result
    if result.state == "finished" and not _arrives(run.folder / "record.json"):
        raise InputError(
            f"a worker finished {run.spec.run_id}, but its record is not in {run.folder}. The "
            "output folder must be the same on all machines (a shared file system); choose one "
            "with --output."
        )
    return result


def _arrives(path: Path, seconds: float = 10.0) -> bool:
    """Wait for a file that another machine wrote; return whether it shows up here."""
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    return path.exists()


def _compute_on_worker(run: PlannedRun, job: Job, here: str) -> Outcome | InputError:
    """Compute a run, on the worker.

    Args:
        run: its folder is absolute.
        job: how it is computed.
        here: the folder that relative paths in a study are meant from.
    """
    try:
        os.chdir(here)
    except OSError as error:
        return StorageError(
            f"the worker {socket.gethostname()} cannot enter {here}: {error.strerror}."
        )
    try:
        return job.compute(run, job, lambda step, status: None)
    except StorageError as error:
        return error
    except KeyboardInterrupt:
        return Outcome(run.spec.run_id, "interrupted")
