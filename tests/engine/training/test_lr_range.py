"""The range test trains as a run would, and suggests a rate where its loss falls."""

import numpy as np
import pytest

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.engine.training.lr_range import RangeSettings, RangeTest, range_test
from encoder_ablations.experiments.commands.lr_find import verdict
from encoder_ablations.experiments.reporting.figures.drawing import style_context
from encoder_ablations.experiments.reporting.figures.lr_range import range_figure
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec

SGD = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "clip_norm": None}
ENCODER = {"name": "test_resnet", "weights": "random", "channels": 32}


def measured(losses):
    """A test with these losses, up to where it ends."""
    settings = RangeSettings(steps=len(losses))
    found = RangeTest()
    for number, loss in enumerate(losses):
        if found.add(settings.rate(number), loss):
            break
    return found


def valley(falls_at, rises_at, steps=200):
    """Losses that fall around one rate and rise beyond another."""
    settings = RangeSettings(steps=steps)
    rates = np.array([settings.rate(step) for step in range(steps)])
    fall = 1 / (1 + (rates / falls_at) ** 2)
    return list(0.2 + 0.8 * fall + (rates / rises_at) ** 2)


def test_rates_grow_by_equal_factors():
    settings = RangeSettings(1e-7, 10, 100)
    rates = [settings.rate(step) for step in range(100)]
    assert (rates[0], rates[-1]) == pytest.approx((1e-7, 10))
    assert np.ptp(np.diff(np.log(rates))) < 1e-9


@pytest.mark.parametrize(("falls_at", "rises_at"), [(1e-3, 1.0), (1e-5, 1e-2)])
def test_the_suggestion_lies_where_the_loss_falls(falls_at, rises_at):
    found = measured(valley(falls_at, rises_at))
    assert len(found.rates) < 200, "a loss that diverges ends the test"
    assert falls_at / 2 < found.steepest < 4 * falls_at
    assert falls_at < found.below_minimum * 10 < rises_at
    assert found.suggestion == min(found.steepest, found.below_minimum)


def test_no_suggestion_without_a_fall():
    assert measured([1.0] * 50).suggestion is None
    assert measured([1.0, 100.0]).suggestion is None
    assert "never fell" in verdict({"a": measured([1.0] * 50)})


def test_smoothing_is_corrected_for_its_start():
    found = measured([2.0, 2.0, 2.0])
    assert found.smoothed == pytest.approx([2.0, 2.0, 2.0])
    assert measured([1.0, 3.0]).smoothed[1] == pytest.approx((0.9 * 0.1 + 3 * 0.1) / (1 - 0.9**2))


def test_the_verdict_follows_the_ratio_of_suggestions():
    near, far = measured(valley(1e-3, 1.0)), measured(valley(1e-6, 1e-3))
    between = measured(valley(2e-4, 0.2))
    assert "is fair" in verdict({"a": near, "b": near})
    assert "may favour" in verdict({"a": near, "b": between})
    assert "is not fair" in verdict({"a": near, "b": far})
    assert "recipe.optimizer.lr" in verdict({"a": near})


def test_the_figure_shows_every_encoder_and_plain_numbers():
    tests = {"one": measured(valley(1e-3, 1.0)), "two": measured(valley(1e-6, 1e-3))}
    with style_context(tests):
        figure = range_figure(tests, 1e-4)
        figure.canvas.draw()
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "0.001" in labels
    assert not any("$" in label for label in labels)
    shown = {text.get_text() for text in figure.legends[0].get_texts()}
    assert shown == {"one", "two", "in the recipe"}


@pytest.mark.parametrize(("lowest", "highest"), [(2e-4, 9e-4), (1e-4, 5e-3), (1e-6, 1.0)])
def test_ticks_are_plain_numbers_on_every_range(lowest, highest):
    rates = np.geomspace(lowest, highest, 20).tolist()
    tests = {"one": RangeTest(rates, [1.0] * 20, [1.0] * 20)}
    with style_context(tests):
        figure = range_figure(tests, rates[9])
        figure.canvas.draw()
        axis = figure.axes[0].xaxis
        every = [*axis.get_majorticklabels(), *axis.get_minorticklabels()]
    low, high = figure.axes[0].get_xlim()
    shown = {label.get_text() for label in every if low <= label.get_position()[0] <= high} - {""}
    assert len(shown) >= 2
    assert shown == {f"{float(label):g}" for label in shown}


def model():
    encoder = build_encoder(EncoderSpec(**ENCODER), 0)
    return build_segmenter(LinearSpec(name="linear"), encoder, 3, 0)


def data_of(terrain):
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    return TrainingData(terrain, train, list(range(8)), val, [0])


def test_it_trains_as_a_run_does(terrain, tmp_path):
    """At a rate that stays nearly the same, its losses are those of a training."""
    recipe = Recipe(
        steps=3,
        batch_size=2,
        evaluate_every=3,
        augmentation={"crop": [64, 64]},
        optimizer=SGD,
        schedule={"decay": "constant"},
    )
    accelerator, data = make_accelerator("cpu"), data_of(terrain)
    trainer = Trainer(model(), data, recipe, 0, tmp_path, accelerator)
    trainer.run()
    settings = RangeSettings(0.1, 0.1 * (1 + 1e-7), 3)
    found = range_test(model(), data, recipe, 0, accelerator, settings)
    assert found.losses == pytest.approx(trainer.progress.loss, rel=1e-4)
    assert found.losses[2] != pytest.approx(found.losses[0], rel=1e-3)


def test_a_loss_that_diverges_ends_it(terrain):
    recipe = Recipe(steps=30, batch_size=2, augmentation={"crop": [64, 64]}, optimizer=SGD)
    settings = RangeSettings(1e-2, 1e6, 30)
    found = range_test(model(), data_of(terrain), recipe, 0, make_accelerator("cpu"), settings)
    assert 5 < len(found.rates) < 30
