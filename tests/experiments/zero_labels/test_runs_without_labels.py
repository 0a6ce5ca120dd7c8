"""Runs of a head that needs no labels: one each, without training, and readable by everything."""

import numpy as np
import pytest
import torch
from PIL import Image
from toy_colors import HEAD

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.record import load_record


def records(folder):
    found = [load_record(path.parent) for path in sorted(folder.glob("runs/*/record.json"))]
    return {(each.spec.segmenter.title, each.spec.fraction, each.spec.seed): each for each in found}


@pytest.fixture
def nearest(mixed):
    return records(mixed)[f"{HEAD} nearest", 0, 0]


def test_a_head_without_labels_has_one_run_per_method(mixed):
    found = records(mixed)
    assert set(found) == {
        (f"{HEAD} nearest", 0, 0),
        (f"{HEAD} farthest", 0, 0),
        ("linear", 0.5, 0),
        ("linear", 0.5, 1),
    }
    assert found[f"{HEAD} nearest", 0, 0].metrics.miou == 1
    assert found[f"{HEAD} farthest", 0, 0].metrics.miou == 0


def test_the_record_says_that_nothing_was_trained(nearest, mixed):
    assert nearest.spec.segmenter.queries == {"red": 0, "green": 1, "blue": 2}
    assert nearest.convergence is None
    assert nearest.curves.loss_steps == nearest.curves.val_steps == []
    assert nearest.data.n_train == 0
    assert nearest.data.class_pixels == [0, 0, 0]
    assert nearest.cost.parameters["trainable"] == 0
    assert any("no labels" in sentence for sentence in nearest.disclosures)
    assert not any("recision" in sentence for sentence in nearest.disclosures)
    assert (mixed / "runs" / nearest.run_id / "per_image.npz").exists()


def test_the_checkpoint_holds_no_body(nearest, mixed):
    folder = mixed / "runs" / nearest.run_id / "checkpoints"
    best = torch.load(folder / "best.pt", weights_only=True)
    assert set(best["model"]) == {"head.texts", "head.classes"}
    bodies = {path.stat().st_ino for path in mixed.glob("runs/*/checkpoints/body-*.pt")}
    assert len(bodies) == 1, "runs of one encoder share the file of its body"
    assert not (folder / "last.pt").exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["status", "--table"], "4 runs: 4 finished"),
        (["report"], "without labels"),
    ],
)
def test_commands_on_the_study(mixed, capsys, command, told):
    name, *options = command
    assert main([name, str(mixed), *options]) == 0
    assert told in capsys.readouterr().out


def test_worst_and_confidence_read_the_runs(mixed, nearest, capsys):
    assert main(["worst", str(mixed), "--device", "cpu"]) == 0
    assert main(["confidence", str(mixed), "--device", "cpu"]) == 0


def test_a_run_is_evaluated_again_with_the_same_score(mixed, nearest, capsys):
    folder = str(mixed / "runs" / nearest.run_id)
    assert main(["evaluate", folder, "--device", "cpu"]) == 0
    assert "100.0" in capsys.readouterr().out


def test_a_run_predicts(mixed, nearest, squares, tmp_path):
    folder = mixed / "runs" / nearest.run_id
    image = f"{squares.root}/images/test/test_0.png"
    assert (
        main(["predict", str(folder), image, "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    )
    predicted = np.asarray(Image.open(tmp_path / "out/masks/test_0.png"))
    truth = np.asarray(Image.open(f"{squares.root}/masks/test/test_0.png"))
    assert (predicted[:, :-1] == truth[:, :-1]).all()


def test_a_second_start_computes_nothing(mixed, capsys):
    study = mixed.parent / "colors.yaml"
    assert main(["run", str(study), "--output", str(mixed), "--dry-run"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_plan_counts_no_steps(write_study, capsys):
    assert main(["run", write_study(), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "1 run, 0 steps" in out
    assert "0 %" in out or " 0 " in out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"segmenters": ["linear"], "fractions": [0, 1]}, "fraction 0"),
        ({"segmenters": [HEAD, "linear"], "fractions": [0]}, "nothing but 0"),
        ({"segmenters": [HEAD, {"name": HEAD}]}, "twice"),
    ],
)
def test_impossible_studies(write_study, capsys, changes, told):
    assert main(["run", write_study(**changes), "--dry-run"]) == 2
    assert told in capsys.readouterr().err


def test_a_run_is_exported(mixed, nearest, tmp_path):
    folder, output = mixed / "runs" / nearest.run_id, tmp_path / "out"
    options = ["--format", "torch", "--size", "32x48", "-o", str(output)]
    assert main(["export", str(folder), *options]) == 0
    assert "100.0" in (output / "README.md").read_text()


def test_predictions_of_a_study_say_which_runs_are_not_ranked(mixed, nearest, squares, capsys):
    image = f"{squares.root}/images/test/test_0.png"
    options = [image, "--device", "cpu", "-o"]
    assert main(["predict", str(mixed), *options, str(mixed.parent / "of_study")]) == 0
    told = capsys.readouterr().err
    assert f"{HEAD} nearest" in told
    assert "no validation score" in told
    run = str(mixed / "runs" / nearest.run_id)
    assert main(["predict", run, *options, str(mixed.parent / "of_run")]) == 0
    assert "no validation score" not in capsys.readouterr().err
