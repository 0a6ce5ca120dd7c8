"""Runs that are compared have seen the same files; what changed in between is refused, and shown
where it happened."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.fingerprint import save_files
from encoder_ablations.experiments.runs.record import load_record, save_record
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.utils.errors import InputError

LINEAR = {"encoders": [{"name": "test_resnet", "weights": "random", "channels": 32}]}


@pytest.fixture
def dataset(tmp_path, terrain, studies):
    """A dataset of its own, and studies on it."""
    shutil.copytree(terrain.root, tmp_path / "rocks")
    studies.dataset["root"] = str(tmp_path / "rocks")
    return terrain.model_copy(update={"root": str(tmp_path / "rocks")})


def repaint(dataset, split="train", number=0):
    """Two pixels of a mask change places: no count of any class changes."""
    path = sorted(Path(dataset.root, "masks", split).iterdir())[number]
    mask = np.array(Image.open(path))
    flat = mask.ravel()
    first, second = 0, int(np.flatnonzero(flat != flat[0])[0])
    flat[[first, second]] = flat[[second, first]]
    Image.fromarray(mask).save(path)


def add_image(dataset):
    for kind in ("images", "masks"):
        path = sorted(Path(dataset.root, kind, "train").iterdir())[0]
        shutil.copy(path, path.with_stem("another"))


def resave_image(dataset):
    path = sorted(Path(dataset.root, "images", "val").iterdir())[0]
    pixels = np.array(Image.open(path))
    Image.fromarray(255 - pixels // 2).save(path)


@pytest.mark.parametrize(
    "change", [repaint, lambda d: repaint(d, "test", 3), add_image, resave_image]
)
def test_the_fingerprint_changes_with_every_file(dataset, change):
    before = check_dataset(dataset).fingerprint
    assert check_dataset(dataset).fingerprint == before
    change(dataset)
    assert check_dataset(dataset).fingerprint != before


def test_the_fingerprint_is_that_of_files_and_not_of_where_they_lie(dataset, terrain):
    assert check_dataset(dataset).fingerprint == check_dataset(terrain).fingerprint


def test_a_study_does_not_go_on_with_other_masks(dataset, studies, capsys):
    assert main(["run", studies.write(**LINEAR), "--device", "cpu"]) == 0
    kept = {path: path.read_bytes() for path in Path(dataset.root).rglob("masks/train/*")}
    repaint(dataset)
    further = studies.write(**LINEAR, seeds=[0, 1])
    capsys.readouterr()
    assert main(["run", further, "--device", "cpu", "--extend"]) == 2
    error = capsys.readouterr().err
    assert (
        "the files of dataset 'mars_terrain' have changed since the run test-resnet-random-linear"
        in error
    )
    assert len(list(Path("outputs/tiny/runs").glob("*/record.json"))) == 1
    assert main(["run", further, "--device", "cpu", "--output", "elsewhere"]) == 0
    for path, content in kept.items():
        path.write_bytes(content)
    assert main(["run", further, "--device", "cpu", "--extend"]) == 0
    digests = {
        json.loads(path.read_text())["data"]["dataset_sha256"]
        for path in Path("outputs").rglob("record.json")
    }
    assert digests == {check_dataset(dataset).fingerprint}


def test_an_interrupted_run_does_not_go_on_with_other_masks(dataset, studies, tmp_path):
    spec = plan(load_study_spec(studies.write(**LINEAR)))[0]

    def stop(step, status):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute_run(spec, tmp_path / "run", Execution("cpu"), stop)
    assert (tmp_path / "run/checkpoints/last.pt").exists()
    mask = sorted(Path(dataset.root, "masks/train").iterdir())[0]
    content = mask.read_bytes()
    repaint(dataset)
    with pytest.raises(InputError, match="have changed since the run run: other images"):
        execute_run(spec, tmp_path / "run", Execution("cpu"))
    mask.write_bytes(content)
    assert execute_run(spec, tmp_path / "run", Execution("cpu")).status == "finished"


def test_a_run_that_has_learnt_nothing_yet_takes_the_files_as_they_are(dataset, studies, tmp_path):
    spec = plan(load_study_spec(studies.write(**LINEAR)))[0]

    def stop(step, status):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute_run(spec, tmp_path / "run", Execution("cpu"), stop)
    repaint(dataset)
    assert execute_run(spec, tmp_path / "run", Execution("cpu")).status == "finished"


def test_the_report_says_that_files_changed(dataset, studies):
    assert main(["run", studies.write(**LINEAR, seeds=[0, 1]), "--device", "cpu"]) == 0
    assert collect(Path("outputs/tiny")).damaged == ()
    folder = next(Path("outputs/tiny/runs").iterdir())
    record = load_record(folder)
    changed = record.data.model_copy(update={"dataset_sha256": "0" * 64})
    save_record(record.model_copy(update={"data": changed}), folder)
    save_files(record.run_id, record.spec.dataset, changed.dataset_sha256, folder)
    assert main(["report", "outputs/tiny"]) == 2
    text = (
        "the files of dataset 'mars_terrain' (images, names or masks) changed between its runs: "
        "there are 2 versions"
    )
    assert text in collect(Path("outputs/tiny")).damaged[0]
    assert "changed between its runs" in Path("outputs/tiny/report.html").read_text(
        encoding="utf-8"
    )
