"""Averages, early stopping and chosen checkpoints, through the command line into the record."""

from pathlib import Path

import pytest

from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs import run
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.transfer.evaluation import evaluate_checkpoint

COMMAND = ["run", "tiny.yaml", "--device", "cpu", "--output", "out"]
ENCODER = {"name": "test_resnet", "weights": "random", "channels": 32, "label": "tiny"}
RECIPE = {
    "steps": 8,
    "batch_size": 2,
    "evaluate_every": 2,
    "augmentation": {"crop": [64, 64]},
    "average": {"kind": "ema", "decay": 0.9},
    "early_stopping": {"metric": "pixel_accuracy", "patience": 1, "min_delta": 0.9},
    "checkpoints": {"metric": "mean_class_accuracy", "keep": 2},
}


def record_of(folder):
    (path,) = Path(folder).glob("runs/*/record.json")
    return load_record(path.parent), path.parent


def test_a_run_that_stopped_early_is_finished_and_says_so(studies, capsys):
    studies.write(encoders=[ENCODER], recipe=RECIPE)
    assert main(COMMAND) == 0
    said = capsys.readouterr().err.splitlines()
    (evaluating,) = [line for line in said if line.endswith("evaluating")]
    assert "ended early after step 4: validation pixel_accuracy" in evaluating
    (measuring,) = [line for line in said if line.endswith("measuring cost")]
    assert "left" not in evaluating + measuring
    record, folder = record_of("out")
    convergence = record.convergence
    assert (convergence.steps, convergence.metric) == (4, "mean_class_accuracy")
    assert "pixel_accuracy" in convergence.stopped
    assert sorted(convergence.kept_steps) == [2, 4]
    assert len(record.curves.val_metrics["pixel_accuracy"]) == 2
    told = " ".join(record.disclosures)
    for words in ("after step 4 of 8", "mean class accuracy", "EMA, decay 0.9", "43% of the aver"):
        assert words in told
    files = {path.name for path in (folder / "checkpoints").iterdir()}
    assert files == {"best.pt", "step-2.pt", "step-4.pt"}
    assert "recipe.average.decay 0.9 is slow for 8 steps" in " ".join(said)
    before = (folder / "record.json").read_bytes()
    assert main(COMMAND) == 0
    assert "1 finished" in capsys.readouterr().out
    assert (folder / "record.json").read_bytes() == before


def test_a_run_that_is_only_evaluated_says_so(terrain, tmp_path, monkeypatch):
    parts = {"encoder": ENCODER, "segmenter": {"name": "linear"}, "dataset": terrain}
    spec = RunSpec(**parts, recipe=RECIPE | {"early_stopping": None})
    folder = tmp_path / spec.run_id
    with monkeypatch.context() as patch:
        patch.setattr(run, "_evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            execute_run(spec, folder, Execution("cpu"))
    said = []
    execute_run(spec, folder, Execution("cpu"), lambda *told: said.append(told))
    assert said == [(8, "evaluating"), (8, "measuring cost")]


def interrupted(*_):
    raise KeyboardInterrupt


def test_overfitting_says_so_and_works_with_all_of_it(terrain, tmp_path):
    recipe = RECIPE | {"overfit": 2, "early_stopping": None}
    parts = {"encoder": ENCODER, "segmenter": {"name": "linear"}, "dataset": terrain}
    spec = RunSpec(**parts, recipe=recipe)
    record = execute_run(spec, tmp_path / spec.run_id, Execution("cpu"))
    assert record.status == "finished", record.error
    assert record.data.report_split == "train"
    assert (record.data.n_train, record.data.n_val) == (2, 2)
    assert "same few images" in " ".join(record.disclosures)
    best = load_checkpoint(tmp_path / spec.run_id / "checkpoints" / "best.pt")
    assert best["step"] == record.convergence.best_step


def test_the_averaged_weights_are_those_that_are_evaluated(terrain, tmp_path):
    """The record's metrics are those of best.pt, which anyone can evaluate."""
    recipe = RECIPE | {"average": {"kind": "swa", "start": 0.2}, "early_stopping": None}
    parts = {"encoder": ENCODER, "segmenter": {"name": "linear"}, "dataset": terrain}
    spec = RunSpec(**parts, recipe=recipe)
    record = execute_run(spec, tmp_path / spec.run_id, Execution("cpu"))
    again = evaluate_checkpoint(tmp_path / spec.run_id, spec, spec.dataset, "val", Execution("cpu"))
    values = record.convergence
    matrix = again.evaluation.confusion.counts
    accuracy = (matrix.diagonal() / matrix.sum(axis=1).clip(1))[matrix.sum(axis=1) > 0].mean()
    curve = dict(
        zip(record.curves.val_steps, record.curves.val_metrics[values.metric], strict=True)
    )
    assert accuracy == pytest.approx(curve[values.best_step], abs=1e-9)
