"""The examples, run as their readers run them: as scripts, from an empty folder, offline."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from warm_processes import start_program

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


SETTINGS = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(name, folder, monkeypatch):
    """Run an example in ``folder``; returns its exit code and what it printed."""
    monkeypatch.chdir(folder)
    started = start_program(EXAMPLES / name, **SETTINGS)
    output, _ = started.communicate(timeout=500)
    return started.returncode, output


def test_every_example_is_run_here():
    source = Path(__file__).read_text()
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert len(scripts) >= 3
    assert all(f'run("{name}"' in source for name in scripts)


@pytest.mark.slow
def test_python_study(tmp_path, monkeypatch):
    code, output = run("python_study.py", tmp_path, monkeypatch)
    assert code == 0, output
    folder = tmp_path / "outputs" / "python_study"
    records = [json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")]
    assert [record["status"] for record in records] == ["finished"] * 4
    for record in records:
        assert (
            f"seed {record['spec']['seed']}: mIoU {record['metrics']['miou']:.3f} on test" in output
        )
    assert (folder / "report.html").exists()


def test_transformers_upernet(tmp_path, monkeypatch):
    code, output = run("transformers_upernet.py", tmp_path, monkeypatch)
    assert code == 0, output
    first, last = map(float, re.search(r"loss ([\d.]+) -> ([\d.]+)", output).groups())
    assert last < first
    assert float(re.search(r"scores: (\S+)", output)[1]) < 1e-5
    assert (tmp_path / "outputs" / "transformers_upernet" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.detectron2
def test_detectron2_train(tmp_path, monkeypatch):
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    code, output = run("detectron2_train.py", tmp_path, monkeypatch)
    assert code == 0, output
    losses = [
        json.loads(line) for line in (tmp_path / "outputs/detectron2_train/metrics.json").open()
    ]
    assert any("total_loss" in line for line in losses)
    assert 0 < float(re.search(r"mIoU ([\d.]+) % on terrain_val", output)[1]) <= 100


def test_detectron2_train_says_what_is_missing(tmp_path):
    """By a new interpreter, as its readers run it."""
    path = str(EXAMPLES / "detectron2_train.py")
    without = "import runpy, sys; sys.modules['detectron2'] = None; "
    done = subprocess.run(
        [sys.executable, "-c", f"{without}runpy.run_path({path!r}, run_name='__main__')"],
        cwd=tmp_path,
        env=os.environ | SETTINGS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Detectron2" in done.stderr
    assert "Traceback" not in done.stderr
