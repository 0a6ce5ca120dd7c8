"""Several runs at a time: the same results as one after the other, whoever is killed and
whenever."""

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from warm_processes import warm_context

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.planned_run import locate
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.workers import child_process, worker
from encoder_ablations.experiments.workers.child_process import slots
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.processes import run_in_processes
from encoder_ablations.experiments.workers.worker import compute
from encoder_ablations.utils.files import StorageError
from encoder_ablations.utils.seeding import numpy_stream


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def appears(pattern, process):
    return list(Path("killed").glob(pattern)) or process.poll() is not None


def written(folder):
    """When each record was written."""
    return {path: path.stat().st_mtime_ns for path in Path(folder).glob("runs/*/record.json")}


def kill_group(process):
    """What remains of it is what its own children leave behind."""
    below = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(below, timeout=20)
    assert not alive, "a process outlived its parent"


@pytest.mark.slow
def test_processes_and_kills_change_nothing(studies):
    study = studies.write(steps=30, seeds=[0, 1])
    assert main(["run", study, "--device", "cpu", "--output", "whole"]) == 0
    whole = studies.results(Path("whole"))
    assert len(whole) == 4
    arguments = ["run", study, "--device", "cpu", "--processes", "2", "--output", "killed"]
    for file in ("progress.json", "record.json"):
        process = studies.start(*arguments)
        wait_for(partial(appears, f"runs/*/{file}", process))
        assert process.poll() is None
        kill_group(process)
    before = written("killed")
    assert before
    process = studies.start(*arguments)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert studies.results(Path("killed")) == whole
    assert (
        before.items()
        <= {
            path: path.stat().st_mtime_ns for path in Path("killed").glob("runs/*/record.json")
        }.items()
    )


@pytest.mark.slow
def test_two_commands_share_a_study_and_one_is_stopped(studies, capsys):
    """No run is computed twice; Ctrl-C saves; status tells running from interrupted."""
    study = studies.write(steps=100_000)  # it is stopped long before
    arguments = ["run", study, "--device", "cpu", "--output", "out"]
    first = studies.start(*arguments, "--processes", "2", "--workers", "1")
    try:
        wait_for(
            lambda: (
                len(list(Path("out").glob("runs/*/progress.json"))) == 2 or first.poll() is not None
            )
        )
        assert main(["status", study, "--output", "out"]) == 0
        out = capsys.readouterr().out
        assert "2 runs: 2 running" in out
        assert "of 100000, loss" in out
        assert main(arguments) == 0, "there is nothing left for the second"
        assert "2 runs are being computed by another process" in capsys.readouterr().out
        below = psutil.Process(first.pid).children(recursive=True)
        assert len(below) >= 4, "two that compute, and one each that loads data"
        os.kill(first.pid, signal.SIGINT)
        output, _ = first.communicate(timeout=100)
    finally:
        first.kill()
    assert first.returncode == 130, output
    assert "stopped; the same command goes on" in output
    assert "Traceback" not in output
    assert not psutil.wait_procs(below, timeout=20)[1], "a process outlived its parent"
    assert not list(Path("out").glob("runs/*/run.lock"))
    assert len(list(Path("out").glob("runs/*/checkpoints/last.pt"))) == 2
    assert not studies.results(Path("out"))
    assert main(["status", "out"]) == 0
    assert "2 runs: 2 interrupted" in capsys.readouterr().out


@pytest.mark.slow
def test_two_commands_at_once_compute_every_run_once(studies):
    study = studies.write(steps=2, seeds=[0, 1])
    arguments = ["run", study, "--device", "cpu", "--processes", "2", "--output", "out"]
    commands = [studies.start(*arguments) for _ in range(2)]
    for command in commands:
        output, _ = command.communicate(timeout=300)
        assert command.returncode == 0, output
    check_computed_once(studies)


def check_computed_once(studies):
    assert len(studies.results(Path("out"))) == 4
    for record in Path("out").glob("runs/*/record.json"):
        assert len(list(record.parent.glob("events.*"))) == 1, "begun twice"
        assert not (record.parent / "run.lock").exists()


class Follower:
    """A display that only remembers."""

    def __init__(self):
        self.outcomes = []

    def done(self, outcome):
        self.outcomes.append(outcome)

    def look(self, runs):
        pass


def dying(run, job, advance):
    """Takes the place of the function that a process computes a run with."""
    marker = run.folder.parent / f"begun-{run.spec.encoder.title}"
    count = len(marker.read_text()) if marker.exists() else 0
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text("x" * (count + 1))
    if run.spec.encoder.title == "dark":
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(run.spec.run_id, "finished")


@pytest.fixture
def warm(monkeypatch):
    """Let processes of a study begin with everything imported."""
    monkeypatch.setattr(child_process, "SPAWN", warm_context())


def test_a_run_whose_process_dies_is_begun_again_and_then_recorded(studies, warm):
    runs = locate(plan(load_study_spec(studies.write())), Path("out"))
    follower = Follower()
    run_in_processes(runs, Job(dying, Execution("cpu")), follower, slots(1, Execution("cpu")))
    assert {outcome.run_id: outcome.state for outcome in follower.outcomes} == {
        runs[0].spec.run_id: "failed",
        runs[1].spec.run_id: "finished",
    }
    assert Path("out/runs/begun-dark").read_text() == "xx"
    assert Path("out/runs/begun-vit").read_text() == "x"
    record = load_record(runs[0].folder)
    assert record.status == "failed"
    assert "its process died 2 times" in record.error.message


def leaving_a_child(run, job, advance):
    """Die, and leave a child that holds everything open that this process had opened."""
    marker = run.folder.parent / "child"
    marker.parent.mkdir(parents=True, exist_ok=True)
    if marker.exists():
        return Outcome(run.spec.run_id, "finished")
    child = os.fork()
    if child == 0:
        time.sleep(40)  # unless it is killed
        marker.write_text("outlived its parent")
        os._exit(0)
    marker.write_text(str(child))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_process_is_noticed_at_once_and_its_children_end(studies, warm):
    """Children that load data hold the connection to the parent open, too."""
    run = locate(plan(load_study_spec(studies.write())), Path("out"))[0]
    follower, job = Follower(), Job(leaving_a_child, Execution("cpu"))
    run_in_processes([run], job, follower, slots(1, Execution("cpu")))
    assert [outcome.state for outcome in follower.outcomes] == ["finished"]
    child = int((run.folder.parent / "child").read_text())
    with suppress(psutil.NoSuchProcess):
        assert psutil.Process(child).wait(timeout=20) is None


def killed_at_its_record(run, job, advance):
    """Compute a run; the first process of each dies just before or after its record appears."""
    begun, replace_file = run.folder.parent / f"begun-{run.folder.name}", os.replace

    def replace(source, target):
        if Path(target).name != "record.json":
            return replace_file(source, target)
        if run.spec.encoder.title == "vit":
            replace_file(source, target)
        os.kill(os.getpid(), signal.SIGKILL)

    if not begun.exists():
        begun.parent.mkdir(parents=True, exist_ok=True)
        begun.touch()
        os.replace = replace
    return compute(run, job, advance)


@pytest.mark.slow
def test_processes_killed_while_they_write_their_record(studies, warm, monkeypatch):
    """Nothing of it is left: no half file, no lock, no progress, no second computation."""
    monkeypatch.setattr(worker, "compute", killed_at_its_record)
    study = studies.write(steps=2)
    arguments = ["run", study, "--device", "cpu", "--processes", "2", "--output", "out"]
    assert main(arguments) == 0
    assert [result["status"] for result in studies.results(Path("out")).values()] == [
        "finished"
    ] * 2
    assert len(list(Path("out").glob("runs/begun-*"))) == 2
    for folder in Path("out").glob("runs/*-linear-*/"):
        left = {path.name for path in folder.rglob("*")}
        assert not left & {"run.lock", "progress.json", "last.pt"}
        assert not [name for name in left if "~" in name]


def test_two_pools_share_runs_and_compute_each_once(studies, warm):
    """As two commands do that were started at the same time, without their imports."""
    runs = locate(plan(load_study_spec(studies.write(steps=2, seeds=[0, 1]))), Path("out"))
    followers, places = [Follower(), Follower()], slots(2, Execution("cpu"))
    job = Job(compute, Execution("cpu"), lock_seconds=0.0)
    with ThreadPoolExecutor(2) as pools:
        for follower in followers:
            pools.submit(run_in_processes, runs, job, follower, places)
    check_computed_once(studies)
    for follower in followers:
        assert {outcome.state for outcome in follower.outcomes} <= {"finished", "elsewhere"}
        assert len(follower.outcomes) == 4


class Stopper(Follower):
    """A display that is interrupted as soon as it is used."""

    def look(self, runs):
        raise KeyboardInterrupt


def test_nothing_outlives_a_stopped_study(studies, warm):
    """A thread that still follows a killed process may trip when Python ends."""
    runs = locate(plan(load_study_spec(studies.write(steps=100_000))), Path("out"))
    threads = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        run_in_processes(
            runs, Job(compute, Execution("cpu")), Stopper(), slots(2, Execution("cpu"))
        )
    assert set(threading.enumerate()) <= threads
    assert not multiprocessing.active_children()


def refusing(run, job, advance):
    """Take the place of the function that a process computes a run with."""
    raise StorageError("the disk is full")


def test_errors_of_a_process_are_raised_here(studies, warm):
    runs = locate(plan(load_study_spec(studies.write())), Path("out"))
    with pytest.raises(StorageError, match="disk is full"):
        run_in_processes(
            runs, Job(refusing, Execution("cpu")), Follower(), slots(1, Execution("cpu"))
        )


def test_gpus_are_given_in_turn(monkeypatch):
    monkeypatch.setattr(child_process.torch.cuda, "device_count", lambda: 2)
    assert [place.device for place in slots(3, Execution("auto", 4))] == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
    ]
    assert [place.device for place in slots(2, Execution("cpu", 4))] == ["cpu", "cpu"]
    cached = Execution("auto", 4, feature_cache_gb=2.0)
    assert {replace(place, device="auto") for place in slots(2, cached)} == {cached}
    monkeypatch.setattr(child_process.torch.cuda, "device_count", lambda: 0)
    assert [place.device for place in slots(2, Execution())] == ["cpu", "cpu"]


def test_a_run_that_somebody_finished_meanwhile_is_not_repeated(studies, monkeypatch):
    """Two commands planned it while it was new; the second one to get the lock finds the record."""
    run = locate(plan(load_study_spec(studies.write())), Path("out"))[0]
    first = compute(run, Job(compute, Execution("cpu")))
    before = (run.folder / "record.json").stat().st_mtime_ns
    again = compute(run, Job(compute, Execution("cpu")))
    assert (again.state, again.miou) == ("finished", first.miou)
    assert (run.folder / "record.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_forty_runs_killed_twenty_times(studies):
    """At random moments, from the first imports to the last report."""
    study = studies.write(steps=12, seeds=list(range(20)))
    assert main(["run", study, "--device", "cpu", "--output", "whole"]) == 0
    whole = studies.results(Path("whole"))
    assert len(whole) == 40
    arguments = ["run", study, "--device", "cpu", "--processes", "2", "--output", "killed"]
    random = numpy_stream(0, "kills")
    finished = []
    for _ in range(20):
        process = studies.start(*arguments)
        time.sleep(random.uniform(1, 25))
        assert process.poll() is None, (
            f"too fast to be killed 20 times: {process.communicate()[0][-2000:]}"
        )
        kill_group(process)
        times = written("killed")
        assert not finished or finished[-1].items() <= times.items(), (
            "a finished run was repeated or lost"
        )
        finished.append(times)
    print([len(times) for times in finished])
    process = studies.start(*arguments)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert studies.results(Path("killed")) == whole
