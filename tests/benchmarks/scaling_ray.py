"""Runs per second of a study on Ray, with simulated machines and runs that only sleep."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from scaling_fit import rate_exponent, silent
from scaling_studies import write_computed_study

from encoder_ablations.experiments.runs.execution import Advance, Execution
from encoder_ablations.experiments.runs.planned_run import PlannedRun, locate
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.workers.display import Display
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.ray_cluster import Cluster, connected, run_on_ray
from encoder_ablations.utils.optional import missing

SECONDS = 0.5
"""A run sleeps so long."""
OBJECT_STORE = 80 << 20
"""Bytes of a node; Ray takes no less."""
SETTINGS = {
    "RAY_AUTH_MODE": "disabled",  # otherwise Ray leaves a token in the home folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": str(Path(__file__).parent),  # workers find the function of a run there
}


def ray_rate(nodes: Sequence[int], runs: int, folder: Path) -> str:
    """Return a row: runs per second by the number of nodes, ascending, of one core each.

    Nodes are processes of this machine. So the row says how what hands out runs grows, and not how
    fast machines are.

    Args:
        nodes: how many nodes there are each time.
        runs: of each node.
        folder: for the runs' folders.
    """
    try:
        from ray.cluster_utils import Cluster as Nodes
    except ImportError as error:
        return f"Ray: not measured; {missing('ray', error)}"
    rates = []
    with TemporaryDirectory(prefix="ray") as temporary, _settings():
        simulated = Nodes()
        try:
            for count in nodes:
                while len(simulated.list_all_nodes()) < count:
                    _add_node(simulated, temporary)
                rates.append(_rate(simulated.address, count, runs, folder / str(count)))
        finally:
            simulated.shutdown()
    return _line(nodes, runs, rates)


def _add_node(simulated: Any, temporary: str) -> None:
    options: dict[str, Any] = {"num_cpus": 1, "object_store_memory": OBJECT_STORE}
    if not simulated.list_all_nodes():
        options |= {"temp_dir": temporary, "include_dashboard": False}
    simulated.add_node(**options)


def _rate(address: str, nodes: int, runs: int, folder: Path) -> float:
    """Return runs per second, after a first run of each node has started its worker."""
    folder.mkdir(parents=True)
    study = load_study_spec(str(write_computed_study(folder, range((1 + runs) * nodes))))
    planned = locate(plan(study), folder)
    cluster, job = Cluster(address), Job(sleep, Execution("cpu"))
    with connected(cluster), silent():
        _compute(planned[:nodes], job, cluster)
        begin = time.perf_counter()
        _compute(planned[nodes:], job, cluster)
        return runs * nodes / (time.perf_counter() - begin)


def _compute(planned: Sequence[PlannedRun], job: Job, cluster: Cluster) -> None:
    with Display(planned, shown=False) as display:
        run_on_ray(planned, job, display, cluster)
        assert [each.state for each in display.outcomes] == ["finished"] * len(planned)


def sleep(run: PlannedRun, _job: Job, _advance: Advance) -> Outcome:
    """Compute nothing, and leave what says that a run has finished."""
    time.sleep(SECONDS)
    run.folder.mkdir(parents=True)
    (run.folder / "record.json").touch()
    return Outcome(run.spec.run_id, "finished")


def _line(nodes: Sequence[int], runs: int, rates: Sequence[float]) -> str:
    each = [
        f"{count}: {rate:.2f} ({rate * SECONDS / count:.2f})"
        for count, rate in zip(nodes, rates, strict=True)
    ]
    return (
        f"Ray, {runs} runs of {SECONDS:g} s for each node: {rate_exponent(nodes, rates)}; runs per "
        f"second by nodes, and their share of what sleeping allows: {', '.join(each)}"
    )


@contextmanager
def _settings() -> Iterator[None]:
    """Within the block Ray's processes get :data:`SETTINGS`."""
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
