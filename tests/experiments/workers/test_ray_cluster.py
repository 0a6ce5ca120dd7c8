"""Studies on Ray. Most of it runs only when asked for: ``pytest -m ray``."""

import builtins
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.planned_run import locate
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.workers import ray_cluster, ray_head
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.ray_cluster import Cluster, connected, run_on_ray
from encoder_ablations.experiments.workers.ray_head import Head
from encoder_ablations.utils.errors import CannotContinue

PORT = 6397


@pytest.fixture(scope="module", autouse=True)
def _no_tokens():
    """Else Ray would leave one in the home folder, and later clusters would ask for it."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    yield
    del os.environ["RAY_AUTH_MODE"]


def test_without_ray_the_message_says_what_to_do(studies, monkeypatch, capsys):
    importing = builtins.__import__

    def no_ray(name, *rest, **options):
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return importing(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", no_ray)
    assert main(["run", studies.write(), "--ray", "local", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'encoder-ablations[ray]'" in error
    assert "--processes" in error


def test_ray_and_processes_exclude_each_other(studies, capsys):
    assert main(["run", studies.write(), "--ray", "local", "--processes", "2"]) == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nohost.invalid:6379", "127.0.0.1:99999"]
)
def test_an_address_that_does_not_answer(studies, capsys, address):
    pytest.importorskip("ray")
    assert main(["run", studies.write(), "--ray", address, "--device", "cpu"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"error: no Ray cluster answers at '{address}'")
    assert "docs/cluster.md" in error
    assert not Path("outputs").exists()


@pytest.mark.parametrize("address", ["auto", "here", "host:port", ":6379"])
def test_an_address_that_is_none(studies, capsys, address):
    pytest.importorskip("ray")
    assert main(["run", studies.write(), "--ray", address, "--device", "cpu"]) == 2
    assert (
        f"--ray {address}: allowed are local, HOST:PORT and ray://HOST:PORT."
        in capsys.readouterr().err
    )


class LostCluster:
    """As much of Ray as follows runs, after its head node has gone."""

    class exceptions:
        RayTaskError = type("RayTaskError", (Exception,), {})
        RayError = type("RayError", (Exception,), {})

    def __init__(self, answer):
        self.answer = answer

    def wait(self, pending, timeout):
        if isinstance(self.answer, Exception):
            raise self.answer
        return (pending, []) if self.answer == "ends" else ([], pending)

    def get(self, reference):
        raise self.exceptions.RayError("the worker died")


@pytest.mark.parametrize("answer", ["silence", "ends", ConnectionError("disconnected")], ids=str)
def test_a_lost_head_node_is_no_fault_of_the_runs(studies, monkeypatch, answer):
    monkeypatch.setattr(ray_head, "LOST_SECONDS", 0.0)
    (run, _) = locate(plan(load_study_spec(studies.write())), Path("out"))
    with pytest.raises(CannotContinue, match="no longer answers"):
        ray_cluster._follow(LostCluster(answer), {1: run}, Follower(), Head("127.0.0.1:1"))
    assert not list(Path("out").glob("runs/*/record.json"))


def test_a_head_node_that_answers_again_is_not_lost(monkeypatch):
    head = Head("127.0.0.1:1")
    assert not head.check()
    monkeypatch.setattr(ray_head, "try_port", lambda address: None)
    assert head.check()
    assert head.silent_since is None


def missing_file(run, job, advance):
    raise FileNotFoundError("weights.bin")


def test_a_file_that_is_missing_on_a_worker_is_not_its_folder(studies):
    (run, _) = locate(plan(load_study_spec(studies.write())), Path("out"))
    job, here = Job(missing_file, Execution("cpu")), os.getcwd()
    with pytest.raises(FileNotFoundError, match="weights"):
        ray_cluster._compute_on_worker(run, job, here)
    refused = ray_cluster._compute_on_worker(run, job, f"{here}/absent")
    assert "cannot enter" in str(refused)


class Follower:
    """A display that only remembers."""

    def __init__(self):
        self.outcomes = []

    def done(self, outcome):
        self.outcomes.append(outcome)

    def look(self, runs):
        pass


class Node:
    """``ray start`` with one CPU, in a session of its own."""

    def __init__(self, *arguments):
        command = [
            str(Path(sys.executable).with_name("ray")),
            "start",
            "--num-cpus",
            "1",
            "--block",
            *arguments,
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_DISABLE_IMPORT_WARNING": "1"}
        self.process = subprocess.Popen(
            command,
            env=environment,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self):
        """As when the power fails: everything in the session at once."""
        import psutil

        for process in [
            *psutil.Process(self.process.pid).children(recursive=True),
            psutil.Process(self.process.pid),
        ]:
            process.kill()
        self.process.wait()


@contextmanager
def head_node():
    """A machine of one CPU that a cluster begins with."""
    head = Node("--head", "--port", str(PORT), "--include-dashboard", "false")
    try:
        wait_for(lambda: _answers(PORT), 60)
        yield head
    finally:
        if head.process.poll() is None:
            head.kill()


@pytest.fixture
def nodes():
    """Two machines of one CPU each, on this one."""
    ray = pytest.importorskip("ray")
    head = Node("--head", "--port", str(PORT), "--include-dashboard", "false")
    started = [head]
    try:
        wait_for(lambda: _answers(PORT), 60)
        started.append(Node("--address", f"127.0.0.1:{PORT}"))
        ray.init(address=f"127.0.0.1:{PORT}", logging_level="ERROR", log_to_driver=False)
        wait_for(lambda: ray.cluster_resources().get("CPU") == 2, 90)
        ray.shutdown()
        yield started
    finally:
        ray.shutdown()
        for node in reversed(started):
            if node.process.poll() is None:
                node.kill()


def _answers(port):
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.ray
def test_a_lost_machine_loses_no_run(studies, nodes):
    study = studies.write(steps=60, seeds=[0, 1])
    on_ray = studies.start("run", study, "--ray", f"127.0.0.1:{PORT}", "--output", "ray")
    try:
        wait_for(
            lambda: (
                len(list(Path("ray").glob("runs/*/progress.json"))) == 2
                or on_ray.poll() is not None
            ),
            180,
        )
        nodes[1].kill()
        output, _ = on_ray.communicate(timeout=400)
    finally:
        on_ray.kill()
    assert on_ray.returncode == 0, output
    assert main(["run", study, "--device", "cpu", "--output", "whole"]) == 0
    assert len(studies.results(Path("whole"))) == 4
    assert studies.results(Path("ray")) == studies.results(Path("whole"))


DYING = """
import os, signal
from pathlib import Path

from encoder_ablations.experiments.workers.worker import compute as compute_run


def compute(run, job, advance):
    victims, replace_file = Path("victims"), os.replace

    def replace(source, target):
        if Path(target).name == "record.json":
            victims.rename("died")
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        replace_file(source, target)

    if victims.exists() and str(os.getppid()) in victims.read_text().split():
        os.replace = replace
    return compute_run(run, job, advance)
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_machine_that_is_lost_while_it_writes_a_record(studies, nodes, monkeypatch):
    import psutil

    Path("dying.py").write_text(DYING)
    below = psutil.Process(nodes[1].process.pid).children(recursive=True)
    Path("victims").write_text(" ".join(str(process.pid) for process in below))
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    monkeypatch.syspath_prepend(os.getcwd())
    import dying

    runs = locate(plan(load_study_spec(studies.write(seeds=[0, 1]))), Path("out"))
    cluster, follower = Cluster(f"127.0.0.1:{PORT}"), Follower()
    with connected(cluster):
        run_on_ray(runs, Job(dying.compute, Execution("cpu")), follower, cluster)
    assert Path("died").exists()
    assert [outcome.state for outcome in follower.outcomes] == ["finished"] * 4
    check_nothing_half_written(studies, 4)


def check_nothing_half_written(studies, count):
    results = studies.results(Path("out"))
    assert [result["status"] for result in results.values()] == ["finished"] * count
    assert not [path for path in Path("out").rglob(".*~*")]


@pytest.mark.ray
@pytest.mark.slow
def test_a_lost_head_node_ends_the_command_with_one_line(studies):
    pytest.importorskip("ray")
    study = studies.write(
        steps=60, encoders=[{"name": "test_resnet", "weights": "random", "channels": 32}]
    )
    command = ["run", study, "--ray", f"127.0.0.1:{PORT}", "--device", "cpu", "--output", "out"]
    with head_node() as head:
        first = studies.start(*command)
        wait_for(
            lambda: list(Path("out").glob("runs/*/progress.json")) or first.poll() is not None, 120
        )
        head.kill()
        output, _ = first.communicate(timeout=120)
    assert first.returncode == 1, output
    assert "Traceback" not in output
    assert output.count("no longer answers") == 1
    check_nothing_half_written(studies, 0)
    with head_node():
        second = studies.start(*command)
        output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    check_nothing_half_written(studies, 1)


@pytest.mark.ray
def test_ctrl_c_stops_runs_on_ray_after_their_step(studies, nodes):
    study = studies.write(steps=400)
    on_ray = studies.start("run", study, "--ray", f"127.0.0.1:{PORT}", "--output", "ray")
    try:
        wait_for(lambda: list(Path("ray").glob("runs/*/progress.json")), 180)
        time.sleep(1)
        os.kill(on_ray.pid, signal.SIGINT)
        output, _ = on_ray.communicate(timeout=100)
    finally:
        on_ray.kill()
    assert on_ray.returncode == 130, output
    assert "stopped; the same command goes on" in output
    assert list(Path("ray").glob("runs/*/checkpoints/last.pt"))
    assert not studies.results(Path("ray"))


@pytest.mark.ray
def test_a_run_that_no_machine_can_take(studies, nodes, capsys):
    address = f"127.0.0.1:{PORT}"
    assert (
        main(["run", studies.write(), "--ray", address, "--cpus-per-run", "8", "--device", "cpu"])
        == 2
    )
    assert (
        "asks for 8 cores and 0 GPUs, but the largest machines of the cluster offer 1 cores"
        in capsys.readouterr().err
    )
