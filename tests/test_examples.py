"""The examples, run as their readers run them: as scripts, from an empty folder, offline."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str, folder: Path, *before: str) -> subprocess.CompletedProcess:
    """Runs an example in ``folder``; ``before`` are statements that its process executes first."""
    script = f"import runpy; {'; '.join([*before, ''])}runpy.run_path({str(EXAMPLES / name)!r}, run_name='__main__')"
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_example_is_run_here():
    source = Path(__file__).read_text()
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert len(scripts) >= 3
    assert all(f'run("{name}"' in source for name in scripts)


def test_python_study(tmp_path):
    done = run("python_study.py", tmp_path)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "outputs" / "python_study"
    records = [json.loads(path.read_text()) for path in output.glob("runs/*/record.json")]
    assert [record["status"] for record in records] == ["finished"] * 4
    for record in records:
        assert (
            f"seed {record['spec']['seed']}: mIoU {record['metrics']['miou']:.3f} on test"
            in done.stdout
        )
    assert (output / "report.html").exists()


def test_transformers_upernet(tmp_path):
    done = run("transformers_upernet.py", tmp_path)
    assert done.returncode == 0, done.stderr
    first, last = map(float, re.search(r"loss ([\d.]+) -> ([\d.]+)", done.stdout).groups())
    assert last < first
    assert float(re.search(r"scores: (\S+)", done.stdout)[1]) < 1e-5
    assert (tmp_path / "outputs" / "transformers_upernet" / "model.safetensors").exists()


@pytest.mark.detectron2
def test_detectron2_train(tmp_path):
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    done = run("detectron2_train.py", tmp_path)
    assert done.returncode == 0, done.stderr
    losses = [
        json.loads(line) for line in (tmp_path / "outputs/detectron2_train/metrics.json").open()
    ]
    assert any("total_loss" in line for line in losses)
    assert 0 < float(re.search(r"mIoU ([\d.]+) % on terrain_val", done.stdout)[1]) <= 100


def test_detectron2_train_says_what_is_missing(tmp_path):
    done = run("detectron2_train.py", tmp_path, "import sys", "sys.modules['detectron2'] = None")
    assert done.returncode == 1
    assert "Detectron2" in done.stderr
    assert "Traceback" not in done.stderr
