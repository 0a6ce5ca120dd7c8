"""Each way of training resumes after a kill with the same bits, and computes what it says."""

import copy
from itertools import chain, count
from typing import get_args

import pytest
import torch
from tiny_training import digest, model_of

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluation.metrics import VALIDATION
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import MetricName
from encoder_ablations.engine.training import validation
from encoder_ablations.engine.training.batch_norm_statistics import estimate_learnt_statistics
from encoder_ablations.engine.training.callbacks import Callback
from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.early_stopping import without_rise
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.engine.training.statistic_images import statistic_batches
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

STEPS = 8


def trainer_of(terrain, folder, settings, callbacks=(), segmenter=None):
    content = {
        "steps": STEPS,
        "batch_size": 2,
        "evaluate_every": 2,
        "augmentation": {"crop": [64, 64]},
        "optimizer": {"lr": 0.1, "encoder_lr_multiplier": 1.0, "clip_norm": None},
    }
    recipe = Recipe.model_validate(content | settings)
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    data = TrainingData(terrain, train, list(range(6)), val, [0, 1])
    model = segmenter or model_of()
    accelerator = make_accelerator("cpu")
    return Trainer(model, data, recipe, 0, folder, accelerator, callbacks=callbacks)


def result(trainer):
    """What must not depend on kills: weights, averages, curves, and every file of weights."""
    state = {key: value for key, value in vars(trainer.progress).items() if key != "seconds"}
    for key in ("peak_memory_bytes", "peak_memory_of"):
        state.pop(key)
    files = {}
    for path in sorted((trainer.folder / "checkpoints").glob("*.pt")):
        if path.name != "last.pt":
            content = load_checkpoint(path)
            files[path.name] = (content["step"], digest(content["model"].values()))
    means = {}
    if trainer.average is not None:
        means = trainer.average.means
    weights = digest(trainer.segmenter.state_dict().values())
    return weights, digest(means.values()), state, files


class Killed(Exception):
    """As by a signal: nothing can be saved."""


SGD = {
    "name": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "clip_norm": 1.0,
    "settings": {"nesterov": True},
}
WAYS = {
    "sgd": {"optimizer": SGD},
    "one cycle": {"schedule": {"decay": "one_cycle"}},
    "ema": {"average": {"kind": "ema", "decay": 0.5, "warmup": 1}},
    "swa": {"average": {"kind": "swa", "start": 0.4, "every": 2}},
    "early stopping": {"early_stopping": {"patience": 1, "min_delta": 0.5}},
    "top": {"checkpoints": {"metric": "pixel_accuracy", "keep": 2}},
}
WAYS["all"] = {key: value for way in WAYS.values() for key, value in way.items()} | {
    "early_stopping": {"patience": 2, "min_delta": 0.5},
    "average": {"kind": "ema", "decay": 0.5},
}


@pytest.mark.parametrize("way", WAYS)
def test_killed_and_resumed_same_bits(terrain, tmp_path, way):
    undisturbed = trainer_of(terrain, tmp_path / "whole", WAYS[way])
    undisturbed.run()
    # between checkpoints; and after an evaluation, before its checkpoint is saved
    for stop_at in (3, 4, 5):

        def stop(step, _status, stop_at=stop_at):
            if step == stop_at:
                raise Killed

        folder = tmp_path / f"killed at {stop_at}"
        first = trainer_of(terrain, folder, WAYS[way])
        if undisturbed.progress.step >= stop_at:
            with pytest.raises(Killed):
                first.run(stop)
        second = trainer_of(terrain, folder, WAYS[way])
        second.run()
        assert result(second) == result(undisturbed)


def test_the_ways_differ(terrain, tmp_path):
    """Otherwise the test above would compare the same training seven times."""
    ways = {"plain": {}, **WAYS}
    found = set()
    for way, settings in ways.items():
        trainer = trainer_of(terrain, tmp_path / way, settings)
        trainer.run()
        weights, means, state, files = result(trainer)
        found.add((weights, means, state["stopped"], tuple(files)))
    assert len(found) == len(ways)


class States(Callback):
    """Keeps the raw weights after every step."""

    def on_start(self, training):
        self.segmenter, self.seen = training.segmenter, []

    def on_step(self, report):
        self.seen.append(copy.deepcopy(self.segmenter.state_dict()))


def run_with_states(terrain, folder, settings, segmenter=None):
    states = States()
    trainer = trainer_of(terrain, folder, settings, [states], segmenter)
    trainer.run()
    return trainer, states.seen


def weights_of(folder):
    return load_checkpoint(folder / "checkpoints" / "best.pt")["model"]


BEST_IS_LAST = {"evaluate_every": STEPS}


def test_ema_is_its_formula_and_leaves_training_alone(terrain, tmp_path):
    average = {"kind": "ema", "decay": 0.7, "warmup": 2}
    _, plain = run_with_states(terrain, tmp_path / "plain", BEST_IS_LAST)
    trainer, seen = run_with_states(terrain, tmp_path / "ema", {"average": average} | BEST_IS_LAST)
    for one, other in zip(plain, seen, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    expected = seen[1]
    for state in seen[2:]:
        for name, value in state.items():
            if value.is_floating_point():
                expected[name] = 0.7 * expected[name] + 0.3 * value
    saved = weights_of(tmp_path / "ema")
    for name, value in expected.items():
        if "num_batches" not in name:
            assert torch.allclose(saved[name], value, atol=1e-6), name
    assert not torch.equal(saved["head.classify.weight"], seen[-1]["head.classify.weight"])
    # the model goes on with the raw weights
    after = trainer.segmenter.state_dict()
    assert all(torch.equal(after[name], seen[-1][name]) for name in after)


def test_swa_is_pytorchs_mean_with_statistics_of_its_own(terrain, tmp_path):
    settings = {"average": {"kind": "swa", "start": 0.5, "every": 2}, "evaluate_every": STEPS}
    trainer, seen = run_with_states(terrain, tmp_path, settings)
    expected, state = torch.optim.swa_utils.AveragedModel(model_of()), model_of()
    for step in (4, 6, 8):
        state.load_state_dict(seen[step - 1])
        expected.update_parameters(state)
    saved = weights_of(tmp_path)
    for name, parameter in expected.module.named_parameters():
        assert torch.allclose(saved[name], parameter, atol=1e-6), name
    averaged = model_of()
    averaged.load_state_dict(saved)
    data, recipe = trainer.data, trainer.recipe
    estimate_learnt_statistics(
        averaged, statistic_batches(data.train, data.train_indices, recipe.augmentation, 0, 0)
    )
    for name, value in averaged.state_dict().items():
        assert torch.allclose(saved[name], value, atol=1e-6), name
    running = "head.norm.running_mean"
    assert not torch.allclose(saved[running], seen[-1][running], atol=1e-3)


def test_before_the_first_state_the_raw_weights_are_evaluated(terrain, tmp_path):
    settings = {"average": {"kind": "swa", "start": 0.75}, "evaluate_every": 4}
    plain, _ = run_with_states(terrain, tmp_path / "plain", {"evaluate_every": 4})
    swa, _ = run_with_states(terrain, tmp_path / "swa", settings)
    curves = (
        plain.progress.val_metrics["pixel_accuracy"],
        swa.progress.val_metrics["pixel_accuracy"],
    )
    assert curves[0][0] == curves[1][0]


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_a_frozen_body_is_not_averaged_and_stored_once(terrain, tmp_path, kind):
    segmenter = model_of("body")
    before = copy.deepcopy(segmenter.encoder.body.state_dict())
    settings = {"average": {"kind": kind}, "checkpoints": {"keep": 3}}
    trainer = trainer_of(terrain, tmp_path, settings, segmenter=segmenter)
    trainer.run()
    assert not [name for name in trainer.average.means if name.startswith("encoder.body")]
    assert "head.norm.running_var" in trainer.average.means
    folder = tmp_path / "checkpoints"
    assert len(list(folder.glob("body-*.pt"))) == 1
    assert len(list(folder.glob("step-*.pt"))) == 3
    saved = weights_of(tmp_path)
    assert all(torch.equal(saved[f"encoder.body.{name}"], before[name]) for name in before)


def test_best_weights_that_were_lost_are_restored_as_averages(terrain, tmp_path, capsys):
    """last.pt is of the same step, but its model is the raw one."""
    settings = {"average": {"kind": "swa", "start": 0.1}, "evaluate_every": 8}
    trainer_of(terrain, tmp_path, settings).run()
    best = tmp_path / "checkpoints" / "best.pt"
    before = digest(weights_of(tmp_path).values())
    best.unlink()
    trainer_of(terrain, tmp_path, settings).run()
    assert "restored" in capsys.readouterr().err
    assert digest(weights_of(tmp_path).values()) == before


def test_training_stops_early_and_stays_stopped(terrain, tmp_path):
    settings = {"early_stopping": {"metric": "pixel_accuracy", "patience": 2, "min_delta": 0.9}}
    trainer, seen = run_with_states(terrain, tmp_path, settings)
    assert (len(seen), trainer.progress.step) == (6, 6)
    assert "pixel_accuracy" in trainer.progress.stopped
    again, seen = run_with_states(terrain, tmp_path, settings)
    assert (seen, again.progress.step, again.progress.stopped) == ([], 6, trainer.progress.stopped)


@pytest.mark.parametrize(
    ("values", "min_delta", "waited"),
    [
        ([], 0, 0),
        ([0.1], 0, 0),
        ([0.1, 0.2, 0.2], 0, 1),
        ([0.1, 0.2, 0.15, 0.3], 0, 0),
        ([0.5, 0.51, 0.52, 0.55], 0.04, 0),
        ([0.5, 0.51, 0.52, 0.53], 0.04, 3),
        ([None, None, 0.0], 0, 0),
        ([0.5, None, None], 0, 2),
    ],
)
def test_evaluations_without_a_rise(values, min_delta, waited):
    assert without_rise(values, min_delta) == waited


def test_the_best_states_are_kept_by_the_metric(terrain, tmp_path):
    settings = {"checkpoints": {"metric": "pixel_accuracy", "keep": 2}, "evaluate_every": 1}
    trainer, seen = run_with_states(terrain, tmp_path, settings)
    curve = trainer.progress.val_metrics["pixel_accuracy"]
    order = sorted(range(1, STEPS + 1), key=lambda step: -curve[step - 1])[:2]
    files = {path.name for path in (tmp_path / "checkpoints").glob("step-*.pt")}
    assert files == {f"step-{step}.pt" for step in order}
    for step in order:
        saved = load_checkpoint(tmp_path / "checkpoints" / f"step-{step}.pt", step=step)["model"]
        assert all(torch.equal(saved[name], value) for name, value in seen[step - 1].items())
    assert load_checkpoint(trainer.best)["step"] == order[0] == trainer.progress.best_step


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"average": {"kind": "swa", "start": 1.0}}, "start.*less than 1"),
        ({"average": {"kind": "swa", "start": 0.99, "every": 2}}, "one state to average"),
        ({"average": {"kind": "ema", "warmup": 8}}, "warmup 8.*less than steps 8"),
        ({"average": {"kind": "ema", "decay": 1.0}}, "decay.*less than 1"),
        ({"average": {"kind": "mean"}}, "'ema', 'swa'"),
        ({"average": {"decay": 0.9}}, "kind"),
        ({"average": {"kind": "ema", "start": 0.5}}, "unknown key.*start"),
        ({"early_stopping": {}}, "patience.*missing"),
        ({"early_stopping": {"patience": 4}}, "patience 4.*give 4"),
        ({"early_stopping": {"patience": 2, "metric": "loss"}}, "no loss is computed.*miou"),
        ({"early_stopping": {"patience": 2, "metric": "dice"}}, "metric.*'miou'"),
        ({"checkpoints": {"keep": 0}}, "keep.*1"),
        ({"checkpoints": {"metric": "val_loss"}}, "no loss is computed.*miou"),
    ],
    ids=str,
)
def test_impossible_settings(content, words):
    with pytest.raises(InputError, match=words) as error:
        build(Recipe, {"steps": 8, "evaluate_every": 2, **content}, "x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_nothing_to_average(terrain, tmp_path, kind):
    model = model_of("body")
    model.head.requires_grad_(False)
    with pytest.raises(InputError, match=rf"average {kind}.*nothing to average"):
        trainer_of(terrain, tmp_path, {"average": {"kind": kind}}, segmenter=model)


@pytest.mark.parametrize("stop_at", range(2, STEPS + 1))
def test_what_the_last_checkpoint_counts_on_is_there_after_a_kill(
    terrain, tmp_path, monkeypatch, stop_at
):
    """Overtaken states are deleted after last.pt is saved, so it never names one that is gone."""
    rising = count(1)

    def better_each_time(_matrix, _task):
        return dict.fromkeys(VALIDATION["segmentation"], next(rising) / 100)

    monkeypatch.setattr(validation, "validation_metrics", better_each_time)
    settings = {"checkpoints": {"metric": "pixel_accuracy", "keep": 2}, "evaluate_every": 1}

    trainer = trainer_of(terrain, tmp_path, settings)
    save = trainer.checkpoint.on_checkpoint

    def killed_before_it_is_saved(step):
        if step == stop_at:
            raise Killed
        save(step)

    trainer.checkpoint.on_checkpoint = killed_before_it_is_saved
    with pytest.raises(Killed):
        trainer.run()
    folder = tmp_path / "checkpoints"
    progress = load_checkpoint(folder / "last.pt")["progress"]
    accuracy = dict(
        zip(progress["val_steps"], progress["val_metrics"]["pixel_accuracy"], strict=True)
    )
    best = sorted(accuracy, key=lambda step: -accuracy[step])[:2]
    assert all((folder / f"step-{step}.pt").exists() for step in best)


def test_metrics_that_choose_are_those_that_are_computed():
    assert set(chain(*VALIDATION.values())) == set(get_args(MetricName))
