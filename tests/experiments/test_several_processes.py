"""A process that cannot go on: it says why, records what failed, and neither hangs nor takes others
with it."""

import json
from pathlib import Path

import pytest
import torch
from launching import launch, torchrun

from encoder_ablations.engine import processes
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.study_options import PER_GPU
from encoder_ablations.experiments.workers import ray_cluster
from encoder_ablations.experiments.workers.child_process import slots
from encoder_ablations.experiments.workers.ray_cluster import Cluster
from encoder_ablations.utils.errors import InputError

PROGRAM = """
import os, sys
from pathlib import Path

import torch

from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.cli import main
from encoder_ablations.utils.errors import InputError

step, rank, (failing, kind) = Trainer._step, os.environ["RANK"], sys.argv[1:3]


def failing_step(trainer, batches):
    if rank == failing and trainer.progress.step == 1:
        raise {"error": RuntimeError, "input": InputError}[kind](f"planted in process {rank}")
    return step(trainer, batches)


Trainer._step = failing_step
torch.set_num_threads(1)
code = main(sys.argv[3:])
Path(f"code-{rank}").write_text(str(code))
sys.exit(code)
"""


def record_of(folder):
    (path,) = Path(folder).glob("runs/*/record.json")
    return read(path)


def read(path):
    return json.loads(path.read_text())


@pytest.fixture
def failing(studies):
    """Arguments of a program, here in the current folder, in which one process fails."""
    Path("program.py").write_text(PROGRAM)
    return ["run", studies.write(), "--device", "cpu", "--output", "out"]


def check_the_failure(rank, code, output):
    assert code != 0
    assert Path(f"code-{rank}").read_text() == "1"
    record = record_of("out")
    assert record["status"] == "failed"
    assert record["error"]["message"] == f"planted in process {rank}"
    lines = [line for line in output.splitlines() if "stopped: " in line]
    (line,) = [line for line in lines if f"planted in process {rank}" in line]
    assert record["run_id"] in line
    assert f'"{Path("program.py").absolute()}"' not in output, "a traceback of the command"


@pytest.mark.parametrize(("rank", "kind"), [(0, "error"), (1, "error"), (1, "input")])
def test_the_process_that_fails_records_it_and_none_is_left_waiting(failing, rank, kind):
    check_the_failure(rank, *launch("program.py", rank, kind, *failing))


@pytest.mark.slow
def test_the_process_that_fails_records_it_under_torchrun(failing):
    check_the_failure(1, *torchrun("program.py", 1, "error", *failing))


class Lost:
    """A GPU that fails once and then for ever."""

    def __init__(self, monkeypatch):
        self.steps = 0
        monkeypatch.setattr(Trainer, "_step", self.step)
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(processes, "_compute_on_gpu", self.compute)

    def step(self, *_):
        self.steps += 1
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def compute(self):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_lost_device_ends_the_study_after_the_run_that_lost_it(studies, monkeypatch, capsys):
    device = Lost(monkeypatch)
    assert main(["run", studies.write(), "--device", "cpu", "--output", "out"]) == 1
    record = record_of("out")
    assert record["error"]["message"].startswith("CUDA error")
    assert device.steps == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("stopped: the GPU no longer works")
    assert record["run_id"] in error


def test_a_failure_that_leaves_the_device_whole_ends_one_run(studies, monkeypatch):
    device = Lost(monkeypatch)
    monkeypatch.setattr(processes, "_compute_on_gpu", lambda: None)
    assert main(["run", studies.write(), "--device", "cpu", "--output", "out"]) == 1
    assert device.steps == 2
    assert len(list(Path("out").glob("runs/*/record.json"))) == 2


class Ray:
    """As much of Ray as says which machines there are."""

    def __init__(self, gpus):
        self.gpus = gpus

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 4.0, "GPU": self.gpus}}]


def test_a_cluster_without_gpus_does_not_compute_elsewhere_what_asks_for_one():
    with pytest.raises(InputError, match="no machine of the cluster has a GPU"):
        ray_cluster._gpus(Ray(0), Cluster("local"), "cuda")
    with pytest.raises(InputError, match="--gpus-per-run 0"):
        ray_cluster._gpus(Ray(2), Cluster("local", gpus=0.0), "cuda")
    assert ray_cluster._gpus(Ray(2), Cluster("local"), "cuda") == 1
    assert ray_cluster._gpus(Ray(0), Cluster("local"), "auto") == 0
    assert ray_cluster._gpus(Ray(2), Cluster("local"), "cpu") == 0


def test_ray_chooses_the_gpu(studies, capsys):
    assert main(["run", studies.write(), "--ray", "local", "--device", "cuda:1"]) == 2
    assert "Say --device cuda." in capsys.readouterr().err


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_processes_share_the_one_gpu_that_is_named(two_gpus):
    assert [place.device for place in slots(2, Execution("cuda:1"))] == ["cuda:1", "cuda:1"]


@pytest.mark.parametrize(
    ("count", "device", "words"),
    [(2, "cuda:1", "a GPU of its own"), (4, "cuda", "sees 2 GPUs"), (4, "auto", "sees 2 GPUs")],
)
def test_several_processes_of_a_run_take_a_gpu_each(two_gpus, monkeypatch, count, device, words):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, str(count))
    with pytest.raises(InputError, match=words):
        make_accelerator(device)


def test_batch_norm_over_micro_batches_is_said_before_training_and_recorded(studies, capsys):
    study = studies.write(steps=2)
    assert main(["run", study, "recipe.accumulation=2", "--dry-run"]) == 0
    planned = [line for line in capsys.readouterr().out.splitlines() if "warning: " in line]
    assert (
        main(["run", study, "recipe.accumulation=2", "--device", "cpu", "--output", "parts"]) == 0
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert [line.split()[1] for line in lines] == ["dark", "vit"]
    assert planned == lines
    assert all("1 image each, not of the whole batch of 2" in line for line in lines)
    for record in map(read, Path("parts").glob("runs/*/record.json")):
        assert record["images_per_statistic"] == 1
        assert any("BatchNorm's training statistics" in text for text in record["disclosures"])
        assert record["cost"]["peak_memory_of"].endswith("during training steps")
    assert main(["run", study, "--device", "cpu", "--output", "whole"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert {
        record["images_per_statistic"]
        for record in map(read, Path("whole").glob("runs/*/record.json"))
    } == {None}


def test_each_process_gets_the_next_gpu(two_gpus):
    for device in ("auto", "cuda"):
        places = [place.device for place in slots(5, Execution(device))]
        assert places == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]


def test_one_process_for_each_gpu(two_gpus, monkeypatch):
    assert [place.device for place in slots(PER_GPU, Execution())] == ["cuda:0", "cuda:1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="--processes gpus: PyTorch sees no GPU"):
        slots(PER_GPU, Execution())


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_is_none(studies, capsys, given):
    assert main(["run", studies.write(), f"--processes={given}", "--dry-run"]) == 2
    assert given in capsys.readouterr().err
