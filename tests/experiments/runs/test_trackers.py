"""Runs in Weights & Biases and MLflow, by the real packages, without a network."""

import json
import logging

import pytest

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.logs import trackers
from encoder_ablations.engine.training.logs.trackers import IDS, Trackers
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.experiments import options
from encoder_ablations.experiments.runs.execution import TRACKERS, Execution
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import LinearSpec
from encoder_ablations.utils.errors import InputError

RECIPE = {"steps": 4, "batch_size": 1, "evaluate_every": 2, "augmentation": {"crop": [64, 64]}}
ENCODER = EncoderSpec(name="test_resnet", weights="random", channels=32)


class Killed(Exception):
    pass


class Noted:
    """Stands in for a tracker of accelerate; notes what it is told, and fails when it is asked."""

    name = "mlflow"

    def __init__(self, identity=None, failing=()):
        self.identity = identity
        self.failing = failing
        self.told = []

    def _note(self, what, *more):
        self.told.append((what, *more))
        if what in self.failing:
            raise ConnectionError("no\nnetwork")

    @property
    def tracker(self):
        class Run:
            class info:
                run_id = "id of mlflow"

        return Run

    def start(self):
        self._note("start")

    def store_init_configuration(self, values):
        self._note("config", values)

    def log(self, values, step=None):
        self._note("log", dict(values), step)

    def finish(self):
        self._note("finish")


@pytest.fixture
def noted(monkeypatch):
    """Every tracker that was made; ``failing`` names the calls in which the next ones fail."""
    made = []

    def start(project, training, identity):
        made.append(Noted(identity, noted_failing))
        return made[-1]

    noted_failing = []
    monkeypatch.setitem(trackers.STARTERS, "mlflow", start)
    return made, noted_failing


def trainer_of(terrain, folder, callback):
    segmenter = build_segmenter(LinearSpec(name="linear"), build_encoder(ENCODER, 0), 3, 0)
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    data = TrainingData(terrain, train, list(range(4)), val, [0])
    recipe = Recipe(**RECIPE)
    return Trainer(
        segmenter, data, recipe, 0, folder, make_accelerator("cpu"), callbacks=[callback]
    )


def run_spec(terrain):
    return RunSpec(
        encoder=ENCODER, segmenter=LinearSpec(name="linear"), dataset=terrain, recipe=RECIPE
    )


def curve(told, name):
    return [(step, values[name]) for what, values, step in told if name in values]


def test_losses_rate_and_scores_are_logged(noted, terrain, tmp_path):
    made, _ = noted
    spec = run_spec(terrain)
    folder = tmp_path / "my_study" / "runs" / spec.run_id
    record = execute_run(spec, folder, Execution("cpu", trackers=("mlflow",)))
    assert record.status == "finished", record.error
    (tracker,) = made
    calls = [each[0] for each in tracker.told]
    assert (calls[:2], calls[-1], calls.count("finish")) == (["start", "config"], "finish", 1)
    config = tracker.told[1][1]
    assert config["recipe.steps"] == 4
    assert config["encoder.name"] == "test_resnet"
    assert (config["run_id"], config["folder"]) == (spec.run_id, str(folder))
    logged = [each for each in tracker.told if each[0] == "log"]
    assert curve(logged, "train/loss") == list(
        zip(record.curves.loss_steps, record.curves.loss, strict=True)
    )
    assert [step for step, _ in curve(logged, "train/lr")] == [1, 2, 3, 4]
    assert curve(logged, "val/miou") == list(
        zip(record.curves.val_steps, record.curves.val_score, strict=True)
    )
    assert curve(logged, "final/miou") == [(None, record.metrics.miou)]


def test_trackers_change_neither_the_run_nor_its_id(noted, terrain, tmp_path):
    spec, found = run_spec(terrain), []
    for name in ((), ("mlflow",)):
        folder = tmp_path / str(len(name)) / spec.run_id
        record = execute_run(spec, folder, Execution("cpu", trackers=name))
        found.append((record.run_id, record.curves, record.confusion_matrix))
    assert found[0] == found[1]
    assert "tracker" not in json.dumps(spec.model_dump(mode="json"))


def test_a_killed_run_goes_on_in_the_same_run_of_the_tracker(noted, terrain, tmp_path):
    made, _ = noted

    def stop(step, _status):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        trainer_of(terrain, tmp_path, Trackers(["mlflow"], "study", {})).run(stop)
    trainer_of(terrain, tmp_path, Trackers(["mlflow"], "study", {})).run()
    first, second = made
    assert (first.identity, second.identity) == (None, "id of mlflow")
    assert first.told[-1] == ("finish",)
    assert "config" in [each[0] for each in first.told]
    assert "config" not in [each[0] for each in second.told]
    # a run may go on without trackers, and a copied folder begins a new run
    (tmp_path / IDS).write_text(json.dumps({"run_id": "another", "ids": {"mlflow": "x"}}))
    trainer_of(terrain, tmp_path, Trackers(["mlflow"], "study", {})).run()
    assert made[2].identity is None


@pytest.mark.parametrize("failing", ["start", "config", "log", "finish"])
def test_a_tracker_that_fails_ends_no_run(noted, terrain, tmp_path, caplog, failing):
    made, failures = noted
    failures.append(failing)
    callback = Trackers(["mlflow"], "study", {})
    trainer = trainer_of(terrain, tmp_path, callback)
    with caplog.at_level(logging.WARNING):
        trainer.run()
        callback.log_scores({"miou": 0.5})
        callback.close()
    assert trainer.progress.step == 4
    lines = [each.getMessage() for each in caplog.records if "mlflow" in each.getMessage()]
    assert len(lines) == 1
    assert "ConnectionError: no network" in lines[0]
    (tracker,) = made
    after = [each[0] for each in tracker.told]
    # nothing more is told, but that it is over
    assert after[after.index(failing) + 1 :] in ([], ["finish"])


def test_a_damaged_file_of_ids_ends_no_run(noted, terrain, tmp_path, caplog):
    made, _ = noted
    (tmp_path / IDS).write_text("{")
    trainer_of(terrain, tmp_path, Trackers(["mlflow"], "study", {})).run()
    assert made == []
    assert "mlflow" in caplog.text


def read(*arguments):
    parser = options.make_parser("run", "", "")
    options.add_training_options(parser)
    return options.read_training(parser.parse_args(arguments)).trackers


def test_unknown_and_absent_trackers_are_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    assert read() == ()
    with pytest.raises(InputError, match=r"unknown tracker 'wanb'.*'wandb'.*mlflow, wandb"):
        read("--tracker", "wanb")
    for name in TRACKERS:
        with pytest.raises(InputError, match=rf"pip install {name}") as caught:
            read("--tracker", name)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(options, "find_spec", lambda name: name)
    assert read("--tracker", "wandb", "--tracker", "mlflow", "--tracker", "wandb") == (
        "wandb",
        "mlflow",
    )


def test_every_tracker_can_be_started():
    assert sorted(trackers.STARTERS) == sorted(TRACKERS)


def interrupted_and_finished(terrain, folder, name):
    """A run that is killed and goes on; the ids by which the tracker knew both parts."""
    ids = []

    def stop(step, _status):
        if step == 3:
            raise Killed

    first = Trackers([name], "a_study", {"recipe": {"steps": 4}})
    with pytest.raises(Killed):
        trainer_of(terrain, folder, first).run(stop)
    ids.append(json.loads((folder / IDS).read_text())["ids"][name])
    second = Trackers([name], "a_study", {"recipe": {"steps": 4}})
    trainer_of(terrain, folder, second).run()
    second.log_scores({"miou": 0.25, "miou_union": None})
    second.close()
    ids.append(json.loads((folder / IDS).read_text())["ids"][name])
    return ids


def test_mlflow_keeps_one_run(terrain, tmp_path, monkeypatch, caplog):
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    place = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    mlflow.set_tracking_uri(place)
    folder = tmp_path / "a_study" / "runs" / "one"
    first, second = interrupted_and_finished(terrain, folder, "mlflow")
    assert first == second
    assert "shows no more" not in caplog.text
    client = mlflow.MlflowClient(place)
    (experiment,) = client.search_experiments(filter_string="name = 'a_study'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_id, run.info.status) == (first, "FINISHED")
    assert run.data.params["recipe.steps"] == "4"
    assert run.data.params["folder"] == str(folder)
    assert run.data.metrics["final/miou"] == 0.25
    steps = {metric.step for metric in client.get_metric_history(first, "train/loss")}
    assert steps == {1, 2, 3, 4}
    assert {metric.step for metric in client.get_metric_history(first, "val/miou")} == {2, 4}


def test_wandb_keeps_one_run(terrain, tmp_path, monkeypatch, caplog):
    wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for variable in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "wandb_files"))
    folder = tmp_path / "a_study" / "runs" / "one"
    first, second = interrupted_and_finished(terrain, folder, "wandb")
    wandb.teardown()  # its service writes the last of the files
    assert first == second
    assert "shows no more" not in caplog.text
    parts = list(folder.glob("wandb/offline-run-*"))
    assert parts
    assert {part.name.rpartition("-")[2] for part in parts} == {first}
    written = b"".join(file.read_bytes() for part in parts for file in part.glob("run-*.wandb"))
    for word in (b"train/loss", b"train/lr", b"val/miou", b"final/miou", b"recipe.steps"):
        assert word in written
