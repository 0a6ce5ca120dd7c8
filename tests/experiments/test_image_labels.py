"""Masks and classes of whole images by one run, through the command line."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from image_labels import IMAGE_CLASSES, draw, write_both_labels
from PIL import Image

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.engine.export.comparison import as_photos
from encoder_ablations.engine.export.onnx_file import load_onnx
from encoder_ablations.engine.export.tracing import load_program
from encoder_ablations.engine.inference.image_votes import ImageVotes
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.prediction.models import make_predictor
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.runs.spec import RunSpec

ENCODER = {"name": "test_vit", "weights": "random", "channels": 32}
HEAD = {"base": "linear", "image_head": {"weight": 1.0}}
RECIPE = {
    "steps": 40,
    "batch_size": 6,
    "evaluate_every": 20,
    "augmentation": {"crop": [64, 64], "scale": [1.0, 1.3], "photometric": False},
    "optimizer": {"lr": 0.003, "encoder_lr_multiplier": 1.0, "clip_norm": None},
}


def write(path, content):
    path.write_text(yaml.safe_dump(content))
    return str(path)


def study(dataset, **changes):
    content = {
        "name": "both",
        "encoders": [ENCODER],
        "segmenters": [HEAD],
        "datasets": [dataset],
        "seeds": [0],
        "recipe": RECIPE,
    }
    return content | changes


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return write_both_labels(tmp_path_factory.mktemp("data") / "both")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, both):
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        path = write(folder / "both.yaml", study(both.model_dump(mode="json")))
        assert main(["run", path]) == 0
    return folder / "outputs" / "both"


def run_of(outputs):
    (folder,) = (outputs / "runs").iterdir()
    return folder


def test_one_run_learns_both(outputs):
    record = load_record(run_of(outputs))
    assert record.status == "finished"
    assert record.image_classes.metrics.accuracy > 0.7
    assert record.metrics.miou > 0.6
    assert [sum(row) for row in record.image_classes.confusion_matrix] == [4, 4, 4]
    assert set(record.image_classes.metrics.per_class_recall) == set(IMAGE_CLASSES)
    assert record.convergence.metric == "miou"
    assert record.curves.terms["image_class"][-1] < record.curves.terms["image_class"][0]


def test_the_report_has_a_table_of_image_classes(outputs):
    assert "Classes of whole images" in (outputs / "report.html").read_text()
    rows = (outputs / "tables" / "image_classes.csv").read_text().splitlines()
    accuracy = load_record(run_of(outputs)).image_classes.metrics.accuracy
    assert len(rows) == 5
    assert f"{100 * accuracy:.1f}" in rows[1]
    assert all(name in line for name, line in zip(IMAGE_CLASSES, rows[2:], strict=True))


@pytest.mark.parametrize(
    "options", [[], ["--window", "64", "--overlap", "0"], ["--tta", "flips=horizontal"]]
)
def test_predict_says_class_and_mask(outputs, both, tmp_path, options):
    arguments = [str(outputs), "--split", "test", "-o", str(tmp_path / "out"), *options]
    assert main(["predict", *arguments]) == 0
    described = json.loads((tmp_path / "out" / "predictions.json").read_text())
    images = FolderDataset(both, "test")
    truth = dict(zip(images.ids, images.image_classes, strict=True))
    counts = np.zeros((3, 3), int)
    for image in described:
        assert 1 / 3 <= image["image_class"]["probability"] <= 1
        named = Path(image["name"]).name
        counts[truth[named], IMAGE_CLASSES.index(image["image_class"]["name"])] += 1
    record = load_record(run_of(outputs)).image_classes
    if options[:1] != ["--tta"]:
        assert counts.tolist() == record.confusion_matrix
    page = (tmp_path / "out" / "index.html").read_text()
    assert f"· {described[0]['image_class']['name']}" in page


def test_windows_are_averaged():
    votes = ImageVotes()
    votes.add(torch.tensor([[0.0, 0.0], [0.0, math.log(3)]]), 1.0)
    votes.add(torch.tensor([[math.log(9), 0.0]]), 2.0)
    found = votes.decided(("a", "b"))
    # (1/2 + 1/4 + 2 · 9/10) / 4
    assert (found.name, found.probability) == ("a", pytest.approx(0.6375))
    assert ImageVotes().decided(("a", "b")) is None


def test_windows_without_data_do_not_vote():
    votes = ImageVotes(leave_out_black=True)
    windows = np.zeros((2, 4, 4, 3), np.uint8)
    windows[1, 2, 2] = 7
    votes.add(torch.tensor([[9.0, 0.0], [0.0, math.log(3)]]), 1.0, windows)
    votes.add(torch.tensor([[9.0, 0.0]]), 1.0, windows[:1])
    found = votes.decided(("a", "b"))
    assert (found.name, found.probability) == ("b", pytest.approx(0.75))


def test_maps_say_the_class_of_the_raster(outputs, tmp_path):
    """Of a raster of two images of one class and as much without data."""
    rasterio = pytest.importorskip("rasterio", reason="the extra raster is not installed")
    image = np.asarray(draw(2, np.random.default_rng(5))[0])
    pixels = np.zeros((3, 64, 256), np.uint8)
    pixels[:, :, :128] = np.concatenate([image, image], axis=1).transpose(2, 0, 1)
    profile = {"driver": "GTiff", "height": 64, "width": 256, "count": 3, "dtype": "uint8"}
    transform = rasterio.transform.from_origin(500000, 4100000, 1, 1)
    path, out = tmp_path / "map.tif", tmp_path / "out"
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32633", transform=transform, nodata=0
    ) as file:
        file.write(pixels)
    options = ["--window", "64", "--overlap", "0", "-o", str(out)]
    assert main(["predict", str(outputs), str(path), *options]) == 0
    (described,) = json.loads((out / "predictions.json").read_text())
    assert described["image_class"]["name"] == "blue"
    Image.fromarray(image).save(tmp_path / "one.png")
    assert main(["predict", str(outputs), str(tmp_path / "one.png"), "-o", str(out) + "1"]) == 0
    (single,) = json.loads((tmp_path / "out1" / "predictions.json").read_text())
    expected = single["image_class"]["probability"]
    assert described["image_class"]["probability"] == pytest.approx(expected, abs=1e-5)


def test_exports_for_transformers_give_masks_alone(outputs, tmp_path):
    assert main(["export", str(outputs), "--format", "hf", "-o", str(tmp_path / "model")]) == 0
    assert "image_classes" not in json.loads((tmp_path / "model" / "classes.json").read_text())


@pytest.mark.slow
def test_onnx_files_tell_the_class_of_the_image(outputs, both, tmp_path, capsys):
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    folder = tmp_path / "model"
    assert main(["export", str(outputs), "-o", str(folder)]) == 0
    assert "differs on 0 of 4 images" in capsys.readouterr().out
    facts = json.loads((folder / "classes.json").read_text())
    assert facts["image_classes"] == list(IMAGE_CLASSES)
    predictor = make_predictor(chosen_runs(outputs), InferenceSpec(), torch.device("cpu"))
    images = FolderDataset(both, "test")
    # two images of a size of their own
    cut = [images[place].image[:50, :61] for place in (0, 1)]
    found = load_onnx(folder / "model.onnx")(np.concatenate([as_photos(image) for image in cut]))
    for image, shares in zip(cut, found.image_probabilities, strict=True):
        expected = predictor.predict(image).image_class
        assert IMAGE_CLASSES[shares.argmax()] == expected.name
        assert shares.max() == pytest.approx(expected.probability, abs=1e-4)
    command = [sys.executable, str(folder / "example.py"), str(images.image_file(0))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    whole = predictor.predict(images[0].image).image_class
    said = f"whole photo: {whole.name} ({100 * whole.probability:.1f}"
    assert done.stdout.startswith(said)


def test_programs_of_pytorch_tell_it_too(outputs, tmp_path):
    options = ["--format", "torch", "--size", "64x64", "-o", str(tmp_path / "model")]
    assert main(["export", str(outputs), *options]) == 0
    assert "image_probabilities" in (tmp_path / "model" / "README.md").read_text()
    found = load_program(tmp_path / "model" / "model.pt2")(np.zeros((1, 3, 64, 64), np.uint8))
    assert found.image_probabilities.sum() == pytest.approx(1)


def test_evaluate_again_gives_the_same(outputs, capsys):
    assert main(["evaluate", str(run_of(outputs)), "--json", "-"]) == 0
    captured = capsys.readouterr()
    expected = load_record(run_of(outputs)).image_classes.model_dump()
    assert json.loads(captured.out)["image_classes"] == expected
    assert "whole images" in captured.err


def test_an_edited_record_is_found(outputs, tmp_path, capsys):
    content = json.loads((run_of(outputs) / "record.json").read_text())
    content["image_classes"]["metrics"]["accuracy"] = 0.123
    (tmp_path / "record.json").write_text(json.dumps(content))
    assert main(["evaluate", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "damaged" in line


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("images/train/train_999.png,red", "no image 'images/train/train_999.png'"),
        ("images/train/train_000.png,rad", "'rad' is no class"),
        ("images/train/train_000.png,red", "no label for"),
    ],
)
def test_wrong_labels_end_with_one_line(both, tmp_path, monkeypatch, capsys, labels, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.csv").write_text(f"file,label\n{labels}")
    dataset = both.model_dump(mode="json") | {"labels": str(tmp_path / "wrong.csv")}
    assert words in one_line(study(dataset), tmp_path, capsys)


def one_line(content, folder, capsys):
    assert main(["run", write(folder / "wrong.yaml", content)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_what_does_not_fit_is_refused(both, terrain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = both.model_dump(mode="json")
    without = {key: value for key, value in content.items() if key != "labels"}
    mixed = RECIPE | {"augmentation": RECIPE["augmentation"] | {"mix": {"kind": "mixup"}}}
    whole = terrain.model_dump(mode="json")
    for changed, words in (
        (study(whole), "image_head learns the class of the whole image"),
        (study(without), "belong together"),
        (study(content | {"task": "classification"}), "image_classes is about masks"),
        (study(content, recipe=mixed), "mixup shows two images"),
        (study(content, segmenters=[{"base": "linear", "image_head": {"wight": 1}}]), "weight"),
        (study(content, segmenters=[HEAD | {"image_head": {"weight": 0}}]), "weight"),
    ):
        assert words in one_line(changed, tmp_path, capsys)
    gone = content | {"image_classes": [*IMAGE_CLASSES, "yellow"]}
    assert "class yellow" in one_line(study(gone), tmp_path, capsys)


def test_labels_change_the_fingerprint(both, tmp_path):
    lines = (both.folder / "labels.csv").read_text().splitlines()
    swapped = [lines[0], "images/train/train_000.png,blue", *lines[2:]]
    (tmp_path / "swapped.csv").write_text("\n".join(swapped))
    other = both.model_copy(update={"labels": str(tmp_path / "swapped.csv")})
    assert check_dataset(other).fingerprint != check_dataset(both).fingerprint


def test_runs_without_these_keys_keep_their_ids(terrain):
    spec = RunSpec(encoder={"name": "test_vit"}, segmenter={"name": "linear"}, dataset=terrain)
    keys = {*spec.model_dump()["dataset"], *spec.model_dump()["segmenter"]}
    assert not keys & {"labels", "image_classes", "image_head", "task"}
