"""Runs of a head that needs no labels: one each, without training, and readable by everything."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from toy_colors import HEAD

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.prediction.chosen_runs import best_of_study
from encoder_ablations.experiments.runs import run as runs
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import member_of
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.runs.trained.run import ranked, trained_run
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.worst.selection import encoders_of
from encoder_ablations.utils.errors import InputError


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
    assert nearest.curves.loss_steps == []
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


def test_a_run_without_training_is_scored_once_on_validation(mixed):
    found = records(mixed)
    for method, score in (("nearest", 1), ("farthest", 0)):
        record = found[f"{HEAD} {method}", 0, 0]
        assert (record.curves.val_steps, record.curves.val_score) == ([0], [score])
        folder = mixed / "runs" / record.run_id
        assert trained_run(folder).val_score == score
        best = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
        assert best["val_score"] == score


def test_runs_without_training_are_ranked_among_the_others(mixed, nearest, squares, capsys):
    folders = [mixed / "runs" / record.run_id for record in records(mixed).values()]
    in_order, note = ranked([trained_run(folder) for folder in folders])
    assert note is None
    assert in_order[0].record.run_id == nearest.run_id
    assert in_order[-1].record.spec.segmenter.title == f"{HEAD} farthest"
    assert best_of_study(mixed).record.run_id == nearest.run_id
    image = f"{squares.root}/images/test/test_0.png"
    output = str(mixed.parent / "of_study")
    assert main(["predict", str(mixed), image, "--device", "cpu", "-o", output]) == 0
    told = capsys.readouterr()
    assert "100.0 % mIoU on val" in told.out + told.err
    assert "no validation score" not in told.err


def test_an_ensemble_weighs_a_run_without_training_by_its_score(mixed):
    found = records(mixed)
    runs = [trained_run(mixed / "runs" / record.run_id) for record in found.values()]
    weights = {
        run.record.spec.segmenter.title: member_of(run, torch.device("cpu"), "validation").weight
        for run in runs
    }
    assert weights[f"{HEAD} nearest"] == 1
    assert weights[f"{HEAD} farthest"] == 1e-6


def test_images_of_val_are_predicted_once_where_they_are_reported(
    write_study, squares, tmp_path, monkeypatch
):
    without_test = squares.model_dump(mode="json") | {"splits": {"train": "train", "val": "val"}}
    (spec,) = plan(load_study_spec(write_study(datasets=[without_test])))

    def refuse(*args, **options):
        raise AssertionError("val is evaluated a second time")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "evaluate", refuse)
        record = runs.execute_run(spec, tmp_path / "runs" / spec.run_id, Execution("cpu"))
    assert record.error is None
    assert record.data.report_split == "val"
    assert record.curves.val_score == [record.metrics.miou]
    assert len(record.pictures) == 2


def test_runs_without_a_labelled_pixel_on_val_are_named(write_study, squares, tmp_path, capsys):
    shutil.copytree(squares.root, tmp_path / "unlabelled")
    for path in (tmp_path / "unlabelled" / "masks" / "val").iterdir():
        Image.fromarray(np.full((32, 48), 255, np.uint8)).save(path)
    root = str(tmp_path / "unlabelled")
    study = write_study(datasets=[squares.model_dump(mode="json") | {"root": root}])
    assert main(["run", study, "--output", "out", "--device", "cpu"]) == 0
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    capsys.readouterr()
    run = best_of_study(tmp_path / "out")
    assert run.val_score is None
    assert folder.name in capsys.readouterr().err
    with pytest.raises(InputError, match="equal"):
        member_of(run, torch.device("cpu"), "validation")
    assert folder.name in " ".join(encoders_of(tmp_path / "out").notes)
