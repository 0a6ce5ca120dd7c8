"""Real processes that talk to each other by Flower on this machine: a server and two clients."""

import os
import signal
import socket
import subprocess
import time

import pytest
import torch
import yaml
from divided_images import divide_images, federated_spec
from warm_processes import start_ablate

from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.runs.run import execute_run

pytest.importorskip("flwr", reason="Flower has an environment of its own, see docs/federated.md")

pytestmark = pytest.mark.slow
SECONDS = 200


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Place:
    """A folder with the run's YAML and the images of each side; it starts processes."""

    def __init__(self, spec, folder):
        self.spec, self.folder = spec, folder
        self.address = f"127.0.0.1:{free_port()}"
        self.started = []
        divide_images(spec, folder)
        (folder / "run.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json")))

    def start(self, side, *arguments):
        process = start_ablate("federate", side, "run.yaml", "--device", "cpu", *arguments)
        self.started.append(process)
        return process

    def server(self, *arguments):
        place = ("--address", self.address, "--data", "server", "--output", "out")
        return self.start("server", *place, *(arguments or ["--insecure"]))

    def client(self, number, *arguments):
        own = ("--client", str(number), "--data", str(number), "--server", self.address)
        return self.start("client", *own, *(arguments or ["--insecure"]))

    @property
    def run(self):
        [folder] = (self.folder / "out" / "runs").iterdir()
        return folder

    def weights(self):
        return torch.load(self.run / "checkpoints" / "best.pt")["model"]


@pytest.fixture
def make_place(terrain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = []

    def make(*arguments, **changes):
        places.append(Place(federated_spec(terrain, *arguments, **changes), tmp_path))
        return places[-1]

    yield make
    for process in (process for place in places for process in place.started):
        process.kill()
        process.wait()


def ended(process):
    """Return the exit code and what was printed."""
    output, _ = process.communicate(timeout=SECONDS)
    assert "Traceback" not in output, output
    assert "DEPRECATED" not in output
    return process.returncode, output


def all_finish(processes):
    outputs = []
    for process in processes:
        code, output = ended(process)
        assert code == 0, output
        outputs.append(output)
    return outputs


def wait_for(process, words):
    """Wait until a process has printed these words."""
    deadline = time.monotonic() + SECONDS
    while words not in process.printed.read_text():
        assert process.poll() is None, process.printed.read_text()
        assert time.monotonic() < deadline, process.printed.read_text()
        time.sleep(0.01)


def check_equal_to_simulation(place, folder):
    record = execute_run(place.spec, folder, Execution("cpu"))
    assert record.status == "finished", record.error
    expected = torch.load(folder / "checkpoints" / "best.pt")["model"]
    found = place.weights()
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.allclose(value, found[name], rtol=1e-5, atol=1e-7), name
    own = load_record(place.run)
    assert own.federation.bytes_up == record.federation.bytes_up
    assert own.curves.loss == pytest.approx(record.curves.loss, rel=1e-5)
    return own


def test_two_clients_learn_what_the_simulated_ones_do(make_place, tmp_path):
    place = make_place({"algorithm": {"kind": "fedavgm"}})
    all_finish([*(place.client(number) for number in (1, 0)), place.server()])
    record = check_equal_to_simulation(place, tmp_path / "simulated")
    assert record.federation.failures == []
    [output] = all_finish([place.server()])
    assert "record:" in output


MANY = {"steps": 20, "batch_size": 2, "evaluate_every": 20, "augmentation": {"crop": [64, 64]}}


def test_rounds_go_on_without_a_client_that_is_killed(make_place):
    place = make_place({"rounds": 10}, recipe=MANY)
    server, first, second = place.server(), place.client(0), place.client(1)
    wait_for(second, "round 0: loss")
    second.kill()
    output, _ = all_finish([server, first])
    assert "goes on without client 1" in output
    federation = load_record(place.run).federation
    assert {failure.client for failure in federation.failures} == {1}
    lost = [failure.round for failure in federation.failures]
    assert lost == list(range(lost[0], 10))
    assert [loss is None for loss in federation.clients[1].loss] == [
        number in lost for number in range(10)
    ]


def test_a_server_that_is_gone_and_comes_again(make_place, tmp_path):
    place = make_place({"rounds": 10}, recipe=MANY)
    server, clients = place.server(), [place.client(number) for number in (0, 1)]
    wait_for(clients[0], "round 1: loss")
    server.kill()
    for client in clients:
        code, output = ended(client)
        assert code == 1
        assert output.splitlines()[-1].startswith("stopped: the server")
    again = [place.client(number) for number in (0, 1)]
    outputs = all_finish([*again, place.server()])
    # it goes on with the round after its last checkpoint
    assert "done: 10 of 10" not in outputs[0]
    check_equal_to_simulation(place, tmp_path / "simulated")


def test_ctrl_c_stops_all_and_clients_say_so(make_place):
    place = make_place({"rounds": 10}, recipe=MANY)
    server, clients = place.server(), [place.client(number) for number in (0, 1)]
    wait_for(clients[0], "round 1: loss")
    os.kill(server.pid, signal.SIGINT)
    code, output = ended(server)
    assert code == 130, output
    assert "same command" in output
    for client in clients:
        code, output = ended(client)
        assert code == 1, output
        assert "stopped before the end" in output
    assert (place.run / "checkpoints" / "last.pt").exists()


def test_without_a_server_and_with_an_address_in_use(make_place):
    place = make_place()
    code, output = ended(place.client(0, "--insecure", "--wait", "0"))
    assert code == 1
    assert "no server answers" in output.splitlines()[-1]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place.address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, output = ended(place.server())
    assert code == 2, output
    assert "cannot listen" in output.splitlines()[-1]


def certificates(folder):
    """Write a certificate for 127.0.0.1 that its own authority has signed."""
    names = {"ca": "/CN=authority", "server": "/CN=server"}
    for name, subject in names.items():
        request = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject]
        request += ["-keyout", f"{name}.key"]
        if name == "ca":
            request += ["-x509", "-out", "ca.pem"]
        else:
            request += ["-out", "server.csr"]
        subprocess.run(request, cwd=folder, check=True, capture_output=True)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    sign = ["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key"]
    sign += ["-CAcreateserial", "-out", "server.pem", "-extfile", "names"]
    subprocess.run(sign, cwd=folder, check=True, capture_output=True)


def test_tls(make_place, tmp_path):
    place = make_place()
    certificates(tmp_path)
    own = ["--certificate", "server.pem", "--key", "server.key"]
    server = place.server(*own, "--ca-certificate", "ca.pem")
    # the system does not know the authority
    code, output = ended(place.client(0, "--wait", "100"))
    assert code == 1
    assert "stopped: the server" in output.splitlines()[-1]
    trusting = [place.client(number, "--ca-certificate", "ca.pem") for number in (0, 1)]
    all_finish([*trusting, server])
