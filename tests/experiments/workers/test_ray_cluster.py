"""Studies on Ray. Most of it runs only when asked for: ``pytest -m ray``."""

import builtins
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import main

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
