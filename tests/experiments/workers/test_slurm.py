"""Runs as jobs of SLURM: parameters, the script, which runs are submitted again, and status."""

import re
from dataclasses import replace
from pathlib import Path

import fake_slurm
import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.failure import record_failure
from encoder_ablations.experiments.runs.folder import save_config
from encoder_ablations.experiments.runs.planned_run import locate
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.locks import holding
from encoder_ablations.experiments.workers.processes import run_here
from encoder_ablations.experiments.workers.progress import ProgressFile
from encoder_ablations.experiments.workers.slurm import following, parameters, submission
from encoder_ablations.experiments.workers.slurm.following import Follower
from encoder_ablations.experiments.workers.slurm.jobs import Chunk
from encoder_ablations.experiments.workers.slurm.ledger import Ledger
from encoder_ablations.experiments.workers.slurm.parameters import Slurm, read_parameters
from encoder_ablations.experiments.workers.slurm.submission import Submitter
from encoder_ablations.experiments.workers.worker import compute
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.errors import InputError

submitit = pytest.importorskip("submitit")

GOLDEN = Path(__file__).with_name("slurm_job.golden.sh")
ENCODERS = [{"name": "test_resnet", "weights": "random", "channels": 32}]
JOB = Job(compute, Execution("cpu"))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("4:00:00", 240), ("1-0", 1440), ("1-2:30", 1590), ("2-0:0:1", 2881)],
)
def test_time_limits_of_slurm_become_minutes(text, minutes):
    assert parameters.minutes(text) == minutes


def test_parameters_are_those_of_submitit():
    known = submitit.SlurmExecutor._valid_parameters()
    assert set(parameters.ALLOWED) <= known
    read = read_parameters("partition=a,b,gres=gpu:1,nodelist=n[1,3],cpus-per-task=4,time=60", [])
    assert read == {
        "partition": "a,b",
        "gres": "gpu:1",
        "nodelist": "n[1,3]",
        "cpus_per_task": 4,
        "time": 60,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitoin=gpu,time=60", ["partitoin", "Did you mean 'partition'?", "qos", "#SBATCH"]),
        ("partition=gpu", ["time"]),
        ("time=soon", ["time=soon", "4:00:00"]),
        ("time=0", ["time=0"]),
        ("time=60,cpus_per_task=0", ["cpus_per_task=0"]),
        ("time=60,partition=", ["partition=VALUE"]),
        ("time=60,time=70", ["twice"]),
    ],
)
def test_bad_parameters_are_refused_in_one_line(studies, capsys, text, words):
    assert main(["run", studies.write(), "--slurm", text]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--no-wait"], "--no-wait"),
        (["--runs-per-job", "2"], "--runs-per-job"),
        (["--slurm-setup", "module load cuda"], "--slurm-setup"),
        (["--slurm", "time=60", "--ray", "local"], "exclude"),
        (["--slurm", "time=60", "--processes", "2"], "exclude"),
        (["--slurm", "time=60", "--runs-per-job", "0"], "0"),
        (["--slurm", "time=60", "--device", "cuda:1"], "cuda:1"),
    ],
)
def test_options_that_do_not_fit_together(studies, capsys, options, word):
    assert main(["run", studies.write(), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Programs of SLURM on PATH, and no waiting; jobs stay in the queue."""
    monkeypatch.setattr(following.queue, "AGE", -1.0)
    monkeypatch.setattr(following, "SETTLE_SECONDS", 0.0)
    monkeypatch.setenv("FAKE_SLURM_FULL", "1")
    yield fake_slurm.install(tmp_path / "slurm", monkeypatch)
    fake_slurm.end_all()


def test_the_script_of_a_job(cluster, tmp_path):
    text = "partition=gpu,gres=gpu:1,time=4:00:00,cpus_per_task=8,array_parallelism=2"
    slurm = Slurm(read_parameters(text, ["module load cuda", "export DATASETS_ROOT=/scratch"]))
    executor = submission.make_executor(slurm, tmp_path / "slurm", "ablate-camvid")
    # as submitit does for an array
    executor.parameters["map_count"] = 8
    script = executor._make_submission_file_text(executor._submitit_command_str, "uid")
    script = script.replace(str(tmp_path), "/study").replace(executor.python, "python")
    assert script.strip() == GOLDEN.read_text().strip()


def test_without_slurm_one_line_says_so(studies, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["run", studies.write(), "--slurm", "time=60"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "sbatch, srun, squeue cannot be found" in line


def test_refused_jobs_are_told_in_one_line(studies, cluster):
    runs = runs_of(studies.write(), "out")
    slurm = Slurm({"time": 1, "partition": "nonsense"})
    submitter = Submitter(slurm, run_here, JOB, Path("out"))
    with pytest.raises(InputError, match="invalid partition"):
        submitter.submit([Chunk(runs)])


class Seen:
    """A display that only remembers."""

    def __init__(self):
        self.outcomes = {}
        self.said = []

    def done(self, outcome):
        self.outcomes[outcome.run_id] = outcome

    def look(self, runs):
        pass

    def say(self, text):
        self.said.append(text)


def runs_of(study, folder):
    return locate(plan(load_study_spec(study)), Path(folder))


def follower_of(runs, **settings):
    slurm = Slurm({"time": 60}, **settings)
    submitter = Submitter(slurm, run_here, JOB, runs[0].folder.parents[1])
    follower = Follower(runs, Seen(), submitter)
    follower.begin()
    return follower


def end(cluster, job_id, state):
    (cluster / f"{job_id}.state").write_text(state)


def do_a_step(run):
    ProgressFile(run.folder, run.spec.run_id, 4)(1, "loss 1.0")


def fail(run):
    save_config(run.spec, run.folder)
    record_failure(run.spec, run.folder, ValueError("no"), now(), "cpu")


def jobs(cluster):
    return sorted(path.stem for path in cluster.glob("*.state"))


def test_several_runs_share_a_job(studies, cluster):
    runs = runs_of(studies.write(seeds=[0, 1, 2]), "out")
    follower_of(runs, runs_per_job=4)
    entries = Ledger.of_study(Path("out")).latest()
    names = [run.spec.run_id for run in runs]
    assert entries[names[0]].runs == names[:4]
    assert entries[names[5]].runs == names[4:]
    assert jobs(cluster) == ["100_0", "100_1"]


def test_a_second_start_follows_the_jobs_of_the_first(studies, cluster):
    runs = runs_of(studies.write(), "out")
    follower_of(runs[:1])
    second = follower_of(runs)
    assert jobs(cluster) == ["100", "101"]
    assert second.ledger.latest()[runs[1].spec.run_id].runs == [runs[1].spec.run_id]
    third = follower_of(runs)
    assert jobs(cluster) == ["100", "101"], "both runs have jobs"
    fail(runs[0])
    end(cluster, "100", "COMPLETED")
    assert third.look()
    assert third.display.outcomes[runs[0].spec.run_id].state == "failed"
    assert jobs(cluster) == ["100", "101"], "a run with a record is not submitted again"


@pytest.mark.parametrize("state", ["TIMEOUT", "FAILED"])
def test_a_stopped_job_that_has_done_steps_is_submitted_again(studies, cluster, state):
    runs = runs_of(studies.write(), "out")[:1]
    follower = follower_of(runs)
    for earlier in range(100, 104):
        do_a_step(runs[0])
        runs[0].folder.joinpath("progress.json").unlink()
        ProgressFile(runs[0].folder, runs[0].spec.run_id, 999)(earlier, "loss 1.0")
        end(cluster, str(earlier), state)
        assert follower.look()
        assert str(earlier + 1) in jobs(cluster)
    assert not follower.display.outcomes


def test_a_job_that_fails_at_once_is_named_with_its_log(studies, cluster):
    runs = runs_of(studies.write(), "out")[:1]
    follower = follower_of(runs)
    log = Path("out/slurm/100_0_log.err")
    log.write_text("bash: line 3: module: command not found\nsrun: error: task 0: Exited\n")
    end(cluster, "100", "FAILED")
    assert not follower.look()
    (outcome,) = follower.display.outcomes.values()
    assert outcome.state == "failed"
    assert "module: command not found" in outcome.message
    assert str(log.absolute()) in outcome.message
    assert jobs(cluster) == ["100"], "it is not submitted again"
    assert not (runs[0].folder / "record.json").exists(), "the run is not to blame"


def test_a_run_that_three_jobs_do_not_survive_has_failed(studies, cluster):
    """The other run of the same jobs goes on."""
    runs = runs_of(studies.write(), "out")
    save_config(runs[0].spec, runs[0].folder)
    follower = follower_of(runs, runs_per_job=2)
    for job_id in ("100", "101", "102"):
        end(cluster, job_id, "OUT_OF_MEMORY")
        assert follower.look()
    (outcome,) = follower.display.outcomes.values()
    assert outcome.run_id == runs[0].spec.run_id
    assert "OUT_OF_MEMORY" in outcome.message
    assert (runs[0].folder / "record.json").exists()
    assert follower.ledger.latest()[runs[1].spec.run_id].job_id == "103"


def test_a_cancelled_job_is_not_submitted_again(studies, cluster):
    runs = runs_of(studies.write(), "out")[:1]
    follower = follower_of(runs)
    end(cluster, "100", "CANCELLED")
    assert not follower.look()
    assert [each.state for each in follower.display.outcomes.values()] == ["interrupted"]
    assert jobs(cluster) == ["100"]


def test_a_run_that_another_process_holds_is_waited_for(studies, cluster):
    runs = runs_of(studies.write(), "out")[:1]
    follower = follower_of(runs)
    with holding(runs[0].folder, 1.0):
        end(cluster, "100", "FAILED")
        assert follower.look()
    assert not follower.display.outcomes


def test_a_silent_squeue_ends_nothing(studies, cluster, monkeypatch):
    runs = runs_of(studies.write(), "out")[:1]
    follower = follower_of(runs)
    monkeypatch.setattr(following.queue, "live_jobs", lambda user: None)
    end(cluster, "100", "FAILED")
    assert follower.look()
    assert not follower.display.outcomes


def test_status_tells_pending_running_and_failed_jobs(studies, cluster, capsys, monkeypatch):
    study = studies.write(seeds=[0, 1])
    follower_of(runs_of(study, "out"))
    end(cluster, "100_0", "RUNNING")
    end(cluster, "100_1", "FAILED")
    Path("out/slurm/100_1_0_log.err").write_text("ImportError: no such module\n")
    assert main(["status", study, "--output", "out"]) == 0
    out = capsys.readouterr().out
    assert "4 jobs of SLURM: 1 running, 2 pending, 1 failed" in out
    assert re.search(r"job 100_1 .*ImportError: no such module; log: .*100_1_0_log.err", out)
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["status", study, "--output", "out"]) == 0
    out = capsys.readouterr().out
    assert "4 jobs of SLURM submitted; squeue does not answer" in out


def test_outcomes_hold_the_job_settings_of_a_cluster(studies, cluster):
    job = replace(JOB, retry_failed=True)
    submitter = Submitter(Slurm({"time": 1}), run_here, job, Path("out"))
    assert submitter.job.lock_seconds == submission.LOCK_SECONDS
    assert submitter.job.retry_failed


def test_the_command_ends_with_the_log_of_jobs_that_fail_at_once(
    studies, cluster, capsys, monkeypatch
):
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.1)
    monkeypatch.delenv("FAKE_SLURM_FULL")
    options = ["--slurm", "time=60", "--slurm-setup", "echo no module cuda >&2; exit 3"]
    arguments = ["run", studies.write(encoders=ENCODERS), "--output", "out", *options]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    line = next(line for line in error.splitlines() if line.startswith("not computed (1 run)"))
    assert "no module cuda" in line
    assert "100_0_log.err" in line
    assert not list(Path("out").glob("runs/*/record.json"))


def test_the_command_leaves_at_once(studies, cluster, capsys):
    study = studies.write(encoders=ENCODERS)
    arguments = ["run", study, "--output", "out", "--slurm", "time=60", "--no-wait"]
    assert main(arguments) == 0
    assert "submitted 1 run as 1 job of SLURM (100)" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "1 run has a job already" in capsys.readouterr().out
    assert jobs(cluster) == ["100"]
