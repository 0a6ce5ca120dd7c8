"""Through the command line, as a user: a small study, killed and started again, reported, evaluated."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from encoder_ablations.engine.per_image import load_per_image
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.run_record import PER_IMAGE

STUDY = {
    "name": "small",
    "encoders": [
        {"base": "darknet_tiny", "channels": 32, "label": "darknet"},
        {"name": "vit_tiny_patch16_224", "weights": "random", "channels": 32, "label": "vit"},
    ],
    "segmenters": [
        {"base": "mask2former_small", "queries": 5, "hidden": 32, "heads": 4, "encoder_layers": 1, "decoder_layers": 1}
    ],
    "fractions": [0.25, 1.0],
    "seeds": [0],
    "recipe": {
        "steps": 4,
        "batch_size": 2,
        "evaluate_every": 2,
        "augmentation": {"crop": [64, 64]},
        "schedule": {"warmup_steps": 1},
    },
}


@pytest.fixture
def study(tmp_path, terrain, monkeypatch):
    """The study's YAML in the current folder, a temporary one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"datasets": [terrain.model_dump(mode="json")]}))
    return path


def records(folder: Path):
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("runs/*/record.json"))]
    return {record["run_id"]: record for record in found}


def what_counts(record):
    """What must be the same however often a run was interrupted."""
    keys = ("spec", "data", "metrics", "confusion_matrix", "curves", "convergence", "disclosures", "pictures")
    return {key: record[key] for key in keys}


def test_study(study, capsys):
    assert main(["run", str(study), "--device", "cpu"]) == 0
    folder = Path("outputs/small")
    first = records(folder)
    assert len(first) == 4
    assert {record["status"] for record in first.values()} == {"finished"}
    assert {record["data"]["n_train"] for record in first.values()} == {6, 24}
    out = capsys.readouterr().out
    assert "darknet" in out
    assert str(folder / "report.html") in out
    page = (folder / "report.html").read_text()
    assert "darknet" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (folder / "runs.csv").read_text().count("\n") == 5

    # every image's own counts lie beside the record and add up to its matrix
    for name, record in first.items():
        images = load_per_image(folder / "runs" / name / PER_IMAGE, np.array(record["confusion_matrix"]))
        assert len(images.ids) == 8

    # a second call repeats nothing
    times = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}
    assert main(["run", str(study), "--device", "cpu"]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}

    # the resolved configuration of a run is that run
    run = next(iter(sorted(folder.glob("runs/*"))))
    capsys.readouterr()
    assert main(["train", "--config", str(run / "config.yaml"), "--output", str(folder)]) == 0
    assert f"run {run.name}: finished" in capsys.readouterr().out

    # evaluating the checkpoint again gives the recorded number
    assert main(["evaluate", str(run), "--json", "scores.json", "--device", "cpu"]) == 0
    scores = json.loads(Path("scores.json").read_text())
    assert scores["confusion_matrix"] == first[run.name]["confusion_matrix"]
    assert main(["evaluate", str(folder)]) == 0
    assert main(["report", str(folder)]) == 0


def test_killed_and_started_again(study, tmp_path):
    """``kill -9`` of the process group at several moments: the end is bit for bit that of an undisturbed study."""
    arguments = [str(study), "fractions=[1.0]"]
    assert main(["run", *arguments, "--output", "whole", "--device", "cpu"]) == 0
    command = [sys.executable, "-m", "encoder_ablations.experiments.cli", "run", *arguments]
    command += ["--output", "killed", "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    kills = 0
    for moment in (1, 2, 3):
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            checkpoints = list(Path("killed").glob("runs/*/checkpoints/last.pt"))
            if len(checkpoints) + len(records(Path("killed"))) >= moment:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        process.wait()
    assert kills >= 2
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    whole, killed = records(Path("whole")), records(Path("killed"))
    assert whole.keys() == killed.keys()
    for name in whole:
        assert what_counts(whole[name]) == what_counts(killed[name])


BAD = {
    "unknown command": (["trian"], "unknown command 'trian'. Did you mean 'train'?"),
    "unknown encoder": (["train", "--encoder", "dinov2_b15", "--dataset", "camvid"], "Did you mean 'dinov2_b14'?"),
    "unknown dataset": (["train", "--encoder", "mae_b16", "--dataset", "camvit"], "Did you mean 'camvid'?"),
    "unknown study": (["run", "demmo"], "Did you mean 'demo'?"),
    "no such file": (["run", "nowhere.yaml"], "there is no file nowhere.yaml"),
    "unknown key": (["run", "STUDY", "recipe.stepz=3"], "unknown key 'recipe.stepz'. Did you mean 'steps'?"),
    "impossible value": (["run", "STUDY", "recipe.steps=0"], "'recipe.steps': input should be greater than or equal"),
    "no image left": (["run", "STUDY", "fractions=[0.001]"], "fraction"),
    "wrong neck": (["taps", "--encoder", "vit_tiny_patch16_224", "weights=random", "neck=fpn_concat"], "tap_pyramid"),
    "wrong grid": (["taps", "--encoder", "mae_b16", "weights=random", "grid=resampled_patch"], "patch 16"),
    "stated fact": (
        ["taps", "--encoder", "vit_ti16", "weights=random", "patch_size=14"],
        "as 14, the model has 16",
    ),
    "offline": (["taps", "--encoder", "mae_b16"], "weights: random"),
    "no weights": (["taps", "--encoder", "darknet53", "weights=pretrained"], "darknet53_in1k"),
    "missing weights": (["taps", "--encoder", "vit_ti16", "weights=gone.pth"], "gone.pth"),
    "size": (["taps", "--encoder", "vit_ti16", "weights=random", "--size", "5by5"], "HxW"),
    "no study": (["report", "empty"], "empty"),
    "device": (["run", "STUDY", "--device", "tpu"], "unknown device 'tpu'"),
    "no GPU": (["run", "STUDY", "--device", "cuda"], "PyTorch sees no CUDA device"),
    "output": (["run", "STUDY", "--output", "small.yaml/below"], "cannot write to the folder small.yaml/below"),
    "batch": (["run", "STUDY", "recipe.accumulation=3"], "not a multiple"),
    "twice": (["run", "STUDY", "seeds=[1,1]"], "seeds lists '1' twice"),
    "neither": (["evaluate", "empty"], "neither a run"),
    "incomplete": (["train", "--encoder", "mae_b16"], "--dataset"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(name, study, capsys):
    arguments, message = BAD[name]
    if name == "no GPU":
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
    Path("empty").mkdir()
    assert main([str(study) if argument == "STUDY" else argument for argument in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error
    assert not Path("outputs").exists() or not list(Path("outputs").rglob("record.json"))


def test_a_record_of_another_version(study, capsys):
    assert main(["run", str(study), "--device", "cpu", "fractions=[1.0]"]) == 0
    path = next(Path("outputs/small").glob("runs/*/record.json"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"schema_version": 99}))
    capsys.readouterr()
    assert main(["run", str(study), "--device", "cpu", "fractions=[1.0]"]) == 2
    assert "schema version 99, this program reads version 1" in capsys.readouterr().err


def test_a_failed_run_is_recorded_and_the_others_go_on(study, capsys):
    arguments = ["run", str(study), "--device", "cpu", "fractions=[1.0]", "recipe.optimizer.lr=1e30"]
    arguments += ["recipe.optimizer.clip_norm=null"]
    assert main(arguments) == 1
    found = records(Path("outputs/small")).values()
    assert len(found) == 2
    assert {record["status"] for record in found} == {"failed"}
    assert all("the loss is" in record["error"]["message"] for record in found)
