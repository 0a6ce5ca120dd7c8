"""Jobs of SLURM as they are: submitit's own processes, and programs that stand for SLURM's."""

import os
import signal
import time
from pathlib import Path

import fake_slurm
import psutil
import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.planned_run import locate
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.processes import run_here
from encoder_ablations.experiments.workers.progress import ProgressFile
from encoder_ablations.experiments.workers.slurm import following
from encoder_ablations.experiments.workers.slurm.jobs import RunsOfJob, placed
from encoder_ablations.experiments.workers.worker import compute
from encoder_ablations.utils.files import StorageError

submitit = pytest.importorskip("submitit")

JOB = Job(compute, Execution("cpu"))


def wait_for(condition, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Programs of SLURM on PATH, and quick looks."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(following.queue, "AGE", -1.0)
    monkeypatch.setattr(following, "SETTLE_SECONDS", 1.0)
    fake_slurm.install(tmp_path / "slurm", monkeypatch)
    yield
    fake_slurm.end_all()


def warn(processes):
    """What SLURM sends to the steps of a job before its time is over."""
    for process in processes:
        if process.cmdline()[1:4] == ["-u", "-m", "submitit.core._submit"]:
            process.send_signal(signal.SIGUSR2)


def runs_of(study, folder):
    return locate(plan(load_study_spec(study)), Path(folder))


@pytest.mark.slow
def test_a_study_whose_jobs_are_stopped_in_every_way(studies, slurm, monkeypatch):
    arguments = ["run", studies.write(steps=40), "--device", "cpu", "--output"]
    on_slurm = [*arguments, "out", "--slurm", "time=60"]
    assert main([*on_slurm, "--no-wait"]) == 0
    (first, second) = fake_slurm.states()
    wait_for(lambda: len(list(Path("out").glob("runs/*/progress.json"))) == 2)
    # the time limit: SLURM warns, the job saves and is put back into the queue
    warn(fake_slurm.processes_of(first))
    # a machine is lost
    (Path(os.environ["FAKE_SLURM"]) / f"{second}.NODE_FAIL").touch()
    for process in fake_slurm.processes_of(second):
        process.kill()
    wait_for(lambda: fake_slurm.states()[second] == "NODE_FAIL")
    assert main(on_slurm) == 0
    assert Path("out/report.html").exists()
    assert len(fake_slurm.states()) == 3, "one job is new, the other was started again"
    log = Path(f"out/slurm/{first}_0_log.out").read_text()
    assert log.count("Starting with") == 2
    assert main([*arguments, "whole"]) == 0
    assert studies.results(Path("out")) == studies.results(Path("whole"))


@pytest.mark.slow
def test_a_job_that_is_warned_begins_again_where_it_was(studies):
    run = runs_of(studies.write(steps=40), "out")[0]
    executor = submitit.LocalExecutor("jobs")
    executor.update_parameters(timeout_min=60)
    job = executor.submit(RunsOfJob(run_here, placed([run]), JOB, os.getcwd()))
    wait_for(lambda: (run.folder / "progress.json").exists())
    warn(psutil.Process(int(job.job_id)).children(recursive=True))
    (outcome,) = job.result()
    assert outcome.state == "finished"
    assert job.stdout().count("Starting with") == 2
    assert "Calling checkpoint method" in job.stdout()


def test_a_job_that_does_no_step_in_its_time_does_not_begin_again(studies):
    run = runs_of(studies.write(), "out")[0]
    job = RunsOfJob(run_here, placed([run]), JOB, os.getcwd())
    job.began = job.standing()
    assert job.checkpoint() is None
    ProgressFile(run.folder, run.spec.run_id, 4)(1, "loss 1.0")
    assert job.checkpoint().function is job


def test_a_folder_that_a_node_does_not_have_is_told(studies):
    run = runs_of(studies.write(), "out")[0]
    with pytest.raises(StorageError, match="cannot enter /absent"):
        RunsOfJob(run_here, placed([run]), JOB, "/absent")()
