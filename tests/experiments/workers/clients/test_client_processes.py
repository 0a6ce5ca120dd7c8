"""Clients in several processes: the bits of one process, whoever is killed and whenever."""

import json
import multiprocessing
import os
import shutil
import signal
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch
from divided_images import federated_spec
from tiny_federation import Killed, killed_after
from warm_processes import Started, warm_context

from encoder_ablations.engine.training.checkpointing import saving
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.run import execute_run, make_trainer
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.workers import child_process
from encoder_ablations.experiments.workers.clients.client_process import serve
from encoder_ablations.experiments.workers.clients.pool import ClientProcesses

EVERYTHING = {
    "clients": 3,
    "local_batch_norm": True,
    "local_optimizer": "keep",
    "algorithm": {"kind": "fedavgm"},
}


@pytest.fixture(autouse=True)
def _warm(monkeypatch):
    monkeypatch.setattr(child_process, "SPAWN", warm_context())


@pytest.fixture(scope="module")
def spec(terrain):
    return federated_spec(terrain, EVERYTHING)


class Trial:
    """Computes a run with processes for its clients, and shows them."""

    def __init__(self, spec, folder, processes=2):
        self.spec, self.folder = spec, folder
        execution = Execution("cpu", client_processes=processes, keep_last=True)
        self.execution = execution
        self.clients = ClientProcesses(folder, execution, make_trainer, serve)

    def pids(self):
        return [process.child.process.pid for process in self.clients._processes]

    def prepare(self, spec):
        return self.clients.prepare(spec)

    def run(self, advance=lambda *_: None):
        with closing(self.clients):
            return execute_run(self.spec, self.folder, self.execution, advance, self.prepare)


def outcome(record, folder):
    """Return what must be equal to the bit, and the weights of the last global model."""
    assert record.status == "finished", record.error
    parts = (record.metrics, record.curves, record.confusion_matrix, record.federation)
    parts += (record.convergence, record.disclosures, record.data)
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    course = state["course"]
    kept = {client: each["optimizer"]["state"] for client, each in course["kept"].items()}
    return parts, [state["model"], course["global_model"], course["local"], kept]


def check_equal(found, expected):
    assert found[0] == expected[0]
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)


@pytest.fixture(scope="module")
def simulated(spec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    record = Trial(spec, folder, processes=1).run()
    assert record.cost.train_seconds > 0
    return outcome(record, folder)


def test_two_processes_give_the_bits_of_one(spec, simulated, tmp_path):
    trial, seen = Trial(spec, tmp_path), set()
    record = trial.run(lambda *_: seen.update(trial.pids()))
    check_equal(outcome(record, tmp_path), simulated)
    assert len(seen) == 2, "they stay over all rounds"
    assert not seen & set(psutil.pids())
    assert record.cost.train_seconds > 0


def test_a_process_that_dies_is_replaced(spec, simulated, tmp_path):
    trial, seen = Trial(spec, tmp_path), []

    def advance(*_):
        seen.append(trial.pids())
        if len(seen) == 2:
            os.kill(seen[0][0], signal.SIGKILL)

    check_equal(outcome(trial.run(advance), tmp_path), simulated)
    assert len({pid for pids in seen for pid in pids}) == 3


def test_processes_that_always_die_are_one_clear_failure(spec, tmp_path):
    trial = Trial(spec, tmp_path)

    def advance(*_):
        for pid in trial.pids():
            os.kill(pid, signal.SIGKILL)

    record = trial.run(advance)
    assert record.status == "failed"
    assert "died 2 times" in record.error.line


def test_killed_between_clients_and_resumed_same_bits(spec, simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "CHECKPOINT_SECONDS", -1)
    with pytest.raises(Killed):
        Trial(spec, tmp_path).run(killed_after(9))
    assert (tmp_path / "checkpoints" / "last.pt").exists()
    check_equal(outcome(Trial(spec, tmp_path).run(), tmp_path), simulated)


def test_an_interruption_saves_the_clients_that_have_finished(spec, tmp_path):
    trial, calls = Trial(spec, tmp_path), []

    def advance(*_):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        trial.run(advance)
    assert not set(trial.pids()) & set(psutil.pids())
    # with the last of six steps one or two of the three clients had finished
    saved = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert 1 <= len(saved["course"]["done"]) <= 2


class Damaged(Trial):
    """An image of the client 1 cannot be read, which the checks before training did not see."""

    def prepare(self, spec):
        data = super().prepare(spec)
        train = data.checked.datasets["train"]
        for index in data.division.clients[1]:
            path = train.pairs[index].image
            if path.exists():
                path.unlink()
        return data


def test_a_client_that_fails_is_left_out_of_its_round(terrain, tmp_path):
    records = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        shutil.copytree(terrain.folder, folder / "data")
        dataset = terrain.model_copy(update={"root": str(folder / "data")})
        trial = Damaged(federated_spec(dataset, {"clients": 3}), folder / "run", processes)
        records.append(trial.run())
    one, two = records
    assert [(each.round, each.client) for each in two.federation.failures] == [(0, 1), (1, 1)]
    assert two.federation.clients == one.federation.clients
    assert two.curves == one.curves
    for each, other in zip(one.federation.failures, two.federation.failures, strict=True):
        assert other.error == each.error.replace(str(tmp_path / "1"), str(tmp_path / "2"))


def wait_to_be_killed(spec, folder):
    """Compute a run in this process until a round has begun, and tell which processes there are."""
    child_process.SPAWN = multiprocessing.get_context("fork")
    trial = Trial(RunSpec.model_validate_json(spec), Path(folder))

    def advance(*_):
        written = Path(folder) / "written.json"
        written.write_text(json.dumps(trial.pids()))
        written.rename(Path(folder) / "pids.json")
        signal.pause()

    trial.run(advance)


def test_processes_end_with_their_parent(spec, tmp_path):
    parent = Started(wait_to_be_killed, spec.model_dump_json(), str(tmp_path))
    while not (tmp_path / "pids.json").exists():
        assert parent.poll() is None, parent.communicate()[0]
    below = [psutil.Process(pid) for pid in json.loads((tmp_path / "pids.json").read_text())]
    assert len(below) == 2
    parent.kill()
    parent.communicate()
    assert not psutil.wait_procs(below, timeout=20)[1], "a process outlived its parent"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--client-processes", "0"], "--client-processes 0: allowed are 1"),
        (["--client-processes", "2", "--processes", "2"], "--processes exclude"),
        (["--client-processes", "2", "--ray", "local"], "--ray exclude"),
        (["--client-processes", "2", "--slurm", "partition=x"], "--slurm exclude"),
        (["--client-processes", "2", "--profile"], "--profile exclude"),
        (["--client-processes", "2"], "tiny has none"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(studies, capsys, options, words):
    assert main(["run", studies.write(), *options]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
