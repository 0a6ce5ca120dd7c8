"""The notebook, executed for real: its offline path, and its Detectron2 section where that is
installed."""

import os
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from encoder_ablations.experiments.runs.record import RunRecord, load_record

NOTEBOOK = Path(__file__).resolve().parent.parent / "notebooks" / "encoder_ablations.ipynb"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """What the kernel inherits: no network, no GPU, nothing in the home folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # whatever goes out fails


@pytest.fixture
def without_mask2former(monkeypatch):
    """PYTHONPATH without the clone, where it is on it."""
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    kept = [folder for folder in folders if not (Path(folder) / "mask2former").exists()]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(kept))


FAILING = """
try:
    ablate("taps --encoder vit_ti17")
except RuntimeError as error:
    print("stopped:", error)
"""


def execute(folder: Path, *changes: tuple[str, str]):
    """Runs all cells in ``folder`` and one that fails, and returns the notebook with its
    outputs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for old, new in changes:
        (cell,) = [cell for cell in notebook.cells if old in cell.source]
        cell.source = cell.source.replace(old, new)
    notebook.cells.append(nbformat.v4.new_code_cell(FAILING))
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def outputs_of(notebook, word: str) -> tuple[str, int]:
    """What the one cell that contains ``word`` printed, and how many pictures it shows."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and word in cell.source]
    text = "".join(output.get("text", "") for output in cell.outputs)
    return text, sum("image/png" in output.get("data", {}) for output in cell.outputs)


def records_in(folder: Path) -> list[RunRecord]:
    found = [
        load_record(path.parent)
        for path in sorted(folder.glob("outputs/notebook/runs/*/record.json"))
    ]
    return [record for record in found if record is not None]


def test_it_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    settings = cells[0].source
    assert 'REPOSITORY = ""' in settings
    assert "INSTALL_DETECTRON2 = False" in settings


@pytest.mark.slow
@pytest.mark.usefixtures("offline", "without_mask2former")
def test_offline_path(tmp_path):
    notebook = execute(tmp_path)
    text, pictures = outputs_of(notebook, 'f"taps --encoder')
    assert "tap 3" in text
    assert ": equal" in text
    assert pictures == 1
    records = records_in(tmp_path)
    assert {(record.spec.encoder.name, record.status) for record in records} == {
        ("vit_ti16", "finished"),
        ("darknet_tiny", "finished"),
    }
    assert all(record.spec.encoder.weights == "random" for record in records)
    text, _ = outputs_of(notebook, 'ablate(f"evaluate')
    assert all(f"{100 * record.metrics.miou:.2f}" in text for record in records)
    assert "terrain_64 val, 6 images" in text
    assert "'background':" in outputs_of(notebook, "ea.load_run")[0]
    assert outputs_of(notebook, "for run in RUNS")[1] >= 2
    assert outputs_of(notebook, "for figure in")[1] >= 1
    assert (tmp_path / "outputs" / "notebook" / "report.html").exists()
    assert "skipped" in outputs_of(notebook, "HAS_DETECTRON2 =")[0]
    assert not (tmp_path / "Mask2Former").exists()
    text, _ = outputs_of(notebook, "vit_ti17")
    assert "stopped: this failed, for the reason above: ablate taps --encoder vit_ti17" in text


@pytest.mark.slow
@pytest.mark.detectron2
@pytest.mark.usefixtures("offline")
def test_detectron2_section(tmp_path):
    if find_spec("detectron2") is None or find_spec("mask2former") is None:
        pytest.skip("Detectron2 is not installed, or the official Mask2Former not on PYTHONPATH")
    train = 'ablate(f"train --encoder vit_ti16 encoder.weights={WEIGHTS} {COMMON}")'
    notebook = execute(tmp_path, (train, ""), ("else (64, 10)", "else (64, 4)"))
    assert "are here" in outputs_of(notebook, "HAS_DETECTRON2 =")[0]
    assert "on the test split" in outputs_of(notebook, "train-net --encoder")[0]
    official = [record for record in records_in(tmp_path) if record.spec.detectron2 is not None]
    assert [record.status for record in official] == ["finished"]
    assert "vit_ti16" in (tmp_path / "outputs" / "notebook" / "report.html").read_text()
