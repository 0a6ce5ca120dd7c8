"""Runs on a dataset of 300 classes, from 16-bit masks to the report: every pixel is counted as the
files say."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.set_writer import write_set
from encoder_ablations.data.loading.stored_set import StoredSet
from encoder_ablations.engine.evaluation.per_image import load_per_image
from encoder_ablations.engine.training.checkpoints import load_checkpoint, load_model
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting.figures.confusion import row_shares
from encoder_ablations.experiments.reporting.figures.qualitative import picture_grid
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.page.grids import classes_grid, mistakes
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.record import PER_IMAGE
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.config import build

LINEAR = {"name": "linear"}
FORMER = {
    "name": "mask2former",
    "queries": 6,
    "hidden": 32,
    "heads": 4,
    "encoder_layers": 1,
    "decoder_layers": 1,
}
FORMER |= {"encoder_feedforward": 32, "decoder_feedforward": 32, "points": 64}
RECIPE = {
    "steps": 6,
    "batch_size": 2,
    "evaluate_every": 3,
    "augmentation": {"crop": [64, 64]},
    "schedule": {"warmup_steps": 1},
    "optimizer": {"lr": 0.01},
}


def specify(wide, segmenter):
    encoder = {"name": "test_vit", "weights": "random", "channels": 32, "label": "vit"}
    content = {
        "encoder": encoder,
        "segmenter": segmenter,
        "dataset": wide.model_dump(mode="json"),
        "recipe": RECIPE,
    }
    return build(RunSpec, content | {"seed": 0, "fraction": 1.0}, "test")


HEADS = [
    pytest.param(LINEAR, id="linear"),
    pytest.param(FORMER, id="mask2former", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=HEADS)
def run(request, wide, tmp_path_factory):
    """A finished run, and the folder of its study."""
    spec = specify(wide, request.param)
    study = tmp_path_factory.mktemp(request.param["name"])
    return execute_run(spec, study / "runs" / spec.run_id, Execution("cpu")), study


def counted(wide, record, folder):
    """The confusion matrix, pixel by pixel from the files and the predictions of the best
    weights."""
    segmenter = build_model(record.spec)
    path = folder / "checkpoints" / "best.pt"
    load_model(segmenter, load_checkpoint(path)["model"], path)
    matrix = np.zeros((300, 300), np.int64)
    for file in sorted((wide.folder / "masks/test").glob("*.png")):
        truth = np.asarray(Image.open(file)).astype(np.int64)
        image = np.asarray(Image.open(wide.folder / "images/test" / file.name))
        with torch.inference_mode():
            scores = segmenter.eval().scores(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])
        for label, found in zip(truth.flat, scores[0].argmax(0).numpy().flat, strict=True):
            if label != 65535:
                matrix[label, found] += 1
    return matrix


def test_confusion_matrix_is_a_direct_count(run, wide):
    record, study = run
    assert record.status == "finished", record.error
    expected = counted(wide, record, study / "runs" / record.run_id)
    np.testing.assert_array_equal(np.array(record.confusion_matrix), expected)
    assert expected[255].sum() == 4 * 12 * 16  # of all four masks
    assert (
        record.metrics.per_class_accuracy["class 255"] == expected[255, 255] / expected[255].sum()
    )
    images = load_per_image(
        study / "runs" / record.run_id / PER_IMAGE, np.array(record.confusion_matrix)
    )
    assert len(images.ids) == 4


def test_a_stored_set_gives_the_same_record(run, wide, tmp_path, monkeypatch):
    record, _ = run
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in wide.splits:
        write_set(FolderDataset(wide, split), None)
    read = []
    monkeypatch.setattr(StoredSet, "__getitem__", noting(read, StoredSet.__getitem__))
    again = execute_run(record.spec, tmp_path / record.run_id, Execution("cpu"))
    assert len(read) > 12  # training, validation and test came from the set
    for part in ("metrics", "confusion_matrix", "curves", "convergence", "data"):
        assert getattr(again, part) == getattr(record, part), part


def noting(calls, method):
    def noted(self, index):
        calls.append(index)
        return method(self, index)

    return noted


def test_kept_pictures_hold_ids(run, wide):
    record, study = run
    folder = study / "runs" / record.run_id / "pictures"
    for name in record.pictures:
        kept = np.asarray(Image.open(folder / f"{name}.truth.png"))
        np.testing.assert_array_equal(
            kept, np.asarray(Image.open(wide.folder / "masks/test" / f"{name}.png"))
        )
        assert np.asarray(Image.open(folder / f"{name}.prediction.png")).max() < 300


def test_the_page_shows_the_classes_with_most_pixels(run):
    record, study = run
    (setting,) = collect(study).settings
    matrix = np.array(record.confusion_matrix)
    pixels = matrix.sum(axis=1)
    shown = [int(name.split()[1]) for name in setting.shown_classes]
    assert len(shown) == 100
    assert shown == sorted(shown)
    assert {0, 255, 299} <= set(shown)  # in all masks
    assert pixels[shown].min() >= np.delete(pixels, shown).max()
    assert [name for name, _ in classes_grid(setting, ["vit"]).rows] == setting.shown_classes

    kept = setting.by_pixels[:23]
    shares = row_shares(setting.groups[0], kept)
    assert shares.shape == (24, 24)
    place = kept.index(255)
    rest = np.delete(matrix[255], kept).sum()
    assert shares[place] == pytest.approx([*(matrix[255, kept] / pixels[255]), rest / pixels[255]])
    assert np.nansum(shares, axis=1) == pytest.approx(1)
    for name, _ in mistakes(setting, ["vit"]).rows:
        assert int(name.split()[1]) in shown


def test_the_legend_names_what_the_pictures_show(run):
    record, study = run
    found = collect(study)
    grid = picture_grid(found, found.settings[0], ["vit"])
    assert 0 < len(grid.legend) <= 40
    assert "class 255" in {entry.name for entry in grid.legend}
    assert f"the {len(grid.legend)} classes with most pixels" in grid.notes[-1]
    folder = study / "runs" / record.run_id / "pictures"
    truth = np.asarray(Image.open(folder / f"{grid.rows[0].id}.truth.png"))
    found = np.asarray(Image.open(folder / f"{grid.rows[0].id}.prediction.png"))
    right = (truth == found)[truth != 65535].mean()
    assert grid.rows[0].predictions[0].right == pytest.approx(right)


def test_report_and_evaluation(run, wide, capsys):
    record, study = run
    assert main(["report", str(study)]) == 0
    page = (study / "report.html").read_text()
    assert not collect(study).damaged
    assert "The pictures of" not in page
    assert "Of 300 classes the 100 with most pixels, bars for the 24 of them" in page
    assert "300 entries, in every run&#39;s config.yaml" in page
    assert "class 19 and 280 others." in page
    assert len(page) < 1_000_000
    table = (study / "tables" / "per_class.csv").read_text().splitlines()
    assert len([line for line in table if ",class " in line]) == 300
    target = study / "scores.json"
    assert (
        main(
            [
                "evaluate",
                str(study / "runs" / record.run_id),
                "--device",
                "cpu",
                "--json",
                str(target),
            ]
        )
        == 0
    )
    assert json.loads(target.read_text())["confusion_matrix"] == record.confusion_matrix
