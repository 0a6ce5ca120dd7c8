"""Classification through the command line: a study, its records, its report, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from image_classes import CLASSES, write_folders
from torchmetrics.functional import classification as theirs

from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.metrics_record import classification_record
from encoder_ablations.experiments.runs.record import load_record, save_record
from encoder_ablations.utils.errors import InputError

ENCODER = {"name": "test_vit", "weights": "random", "neck": "none"}
RECIPE = {
    "steps": 24,
    "batch_size": 6,
    "evaluate_every": 8,
    "augmentation": {"crop": [64, 64], "scale": [1.0, 1.3], "photometric": False},
    "optimizer": {"lr": 0.003, "encoder_lr_multiplier": 1.0, "clip_norm": None},
}


def write(path, content):
    Path(path).write_text(yaml.safe_dump(content))
    return str(path)


def study(dataset, **changes):
    content = {
        "name": "colors",
        "encoders": [ENCODER | {"label": "learning"}, ENCODER | {"freeze": "body"}],
        "segmenters": ["classifier"],
        "datasets": [dataset],
        "fractions": [0.5, 1.0],
        "seeds": [0],
        "recipe": RECIPE,
    }
    return content | changes


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("data") / "colors").model_dump(mode="json")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, colors):
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", write("colors.yaml", study(colors))]) == 0
    return folder / "outputs" / "colors"


def records(outputs):
    return [load_record(path) for path in sorted((outputs / "runs").iterdir())]


def test_accuracy_rises_above_chance(outputs):
    found = records(outputs)
    assert [record.status for record in found] == ["finished"] * 4
    learning = [record for record in found if record.spec.encoder.title == "learning"]
    assert min(record.metrics.accuracy for record in learning) > 0.7


def test_records_say_the_task(outputs):
    for record in records(outputs):
        assert (record.task, record.convergence.metric) == ("classification", "accuracy")
        assert np.sum(record.confusion_matrix) == 12
        assert record.data.class_pixels in ([6, 6, 6], [3, 3, 3])
        assert record.data.report_split == "test"
        assert set(record.metrics.per_class_recall) == set(CLASSES)
        content = json.loads((outputs / "runs" / record.run_id / "record.json").read_text())
        assert content["spec"]["dataset"]["task"] == "classification"
        assert "miou" not in content["metrics"]


@pytest.mark.parametrize("part", ["task", "metrics"])
def test_an_edited_record_is_found(outputs, tmp_path, part):
    record = records(outputs)[0]
    edited = {"task": "segmentation"}
    if part == "metrics":
        edited = {"metrics": record.metrics.model_copy(update={"balanced_accuracy": 0.123})}
    save_record(record.model_copy(update=edited), tmp_path)
    with pytest.raises(InputError, match=f"contradicts itself: .*({part}|balanced)"):
        load_record(tmp_path)


def test_the_report_speaks_of_accuracy(outputs):
    page = (outputs / "report.html").read_text()
    assert "mIoU" not in page
    assert "accuracy" in page
    assert "Classification gives every image one class" in page
    assert "balanced accuracy" in page
    table = (outputs / "tables" / "ranking.csv").read_text()
    assert "accuracy (%)" in table
    assert "mIoU" not in table
    assert "recall (%)" in (outputs / "tables" / "per_class.csv").read_text()


def test_evaluate_again_gives_the_same(outputs, capsys):
    run = sorted((outputs / "runs").iterdir())[0]
    assert main(["evaluate", str(run), "--json", "-"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["metrics"] == load_record(run).metrics.model_dump()
    assert main(["evaluate", str(outputs)]) == 0
    said = capsys.readouterr().out
    assert "macro F1" in said
    assert "mIoU" not in said


def one_line_of_error(arguments, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_heads_of_the_other_task_are_refused(colors, terrain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for changes, words in (
        ({"segmenters": ["linear"]}, "head linear is for segmentation"),
        (
            {"datasets": [terrain.model_dump(mode="json")]},
            "head classifier is for classification",
        ),
    ):
        path = write("wrong.yaml", study(colors, **changes))
        assert words in one_line_of_error(["run", path], capsys)


def test_a_study_of_two_tasks_is_refused(colors, terrain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    both = study(colors, datasets=[colors, terrain.model_dump(mode="json")])
    assert "mixes two tasks" in one_line_of_error(["run", write("both.yaml", both)], capsys)


def test_published_scores_are_of_the_same_metric(colors, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    score = {"encoder": "learning", "segmenter": "classifier", "dataset": "colors", "source": "Doe"}
    wrong = study(colors, published=[score | {"miou": 93}])
    line = one_line_of_error(["run", write("wrong.yaml", wrong), "--dry-run"], capsys)
    assert "judged by accuracy" in line
    right = study(colors, published=[score | {"accuracy": 93}])
    assert main(["run", write("right.yaml", right), "--dry-run"]) == 0


def test_a_report_of_two_tasks_is_refused(outputs, tmp_path, terrain, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    masks = study(
        terrain.model_dump(mode="json"),
        name="masks",
        encoders=[ENCODER],
        segmenters=["linear"],
        fractions=[1.0],
        recipe=RECIPE | {"steps": 1},
    )
    assert main(["run", write("masks.yaml", masks)]) == 0
    capsys.readouterr()
    for run in list((outputs / "runs").iterdir())[:1]:
        (tmp_path / "outputs/masks/runs" / run.name).symlink_to(run)
    for command in ("report", "evaluate"):
        assert "mixes two tasks" in one_line_of_error([command, "outputs/masks"], capsys)


def test_other_datasets_of_another_task_are_refused(outputs, terrain, tmp_path, capsys):
    run = str(sorted((outputs / "runs").iterdir())[0])
    other = write(tmp_path / "terrain.yaml", terrain.model_dump(mode="json"))
    line = one_line_of_error(["evaluate", run, "--dataset", other], capsys)
    assert "classification" in line


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_torchmetrics(seed):
    rng = np.random.default_rng(seed)
    # class 5 is in the truth only in some of the cases
    truth, guess = torch.tensor(rng.integers(0, 5, 200)), torch.tensor(rng.integers(0, 6, 200))
    truth[: 3 * (seed > 0)] = 5
    counts = theirs.multiclass_confusion_matrix(guess, truth, 6).numpy()
    found = classification_record(ConfusionMatrix(counts), tuple("abcdef"))
    common = {"num_classes": 6, "average": "none"}
    recall = theirs.multiclass_recall(guess, truth, **common)
    present = truth.unique()
    assert found.accuracy == pytest.approx((truth == guess).float().mean().item())
    assert found.balanced_accuracy == pytest.approx(recall[present].mean().item())
    f1 = theirs.multiclass_f1_score(guess, truth, **common)
    assert found.macro_f1 == pytest.approx(f1.mean().item())
    assert [*found.per_class_f1.values()] == pytest.approx(f1.tolist())
    precision = theirs.multiclass_precision(guess, truth, **common)
    assert [*found.per_class_precision.values()] == pytest.approx(precision.tolist())
    recalls = list(found.per_class_recall.values())
    assert [recalls[place] for place in present] == pytest.approx(recall[present].tolist())
    assert (recalls[5] is None) == (5 not in present)
