"""What reports say of trainings that are not the usual one."""

import re

import pytest

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.description import about_training
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.page.views import convergence_rows
from encoder_ablations.experiments.reporting.sentences.cautions import warnings
from encoder_ablations.experiments.reporting.sentences.method import protocol
from encoder_ablations.experiments.reporting.sentences.training import training_sentences

HIGHEST = "highest at the last step"
SGD = {"name": "sgd", "lr": 0.1, "weight_decay": 1e-4, "clip_norm": None}
STOPPED = "validation miou had not risen for 3 evaluations"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({}, "AdamW, learning rate 0.0001.*no warm-up, then poly decay to zero"),
        ({"optimizer": SGD}, "SGD, learning rate 0.1"),
        ({"schedule": {"min_factor": 0.1}}, "poly decay to 0.1 times the rate"),
        ({"schedule": {"decay": "one_cycle"}}, "one cycle.*30%.*falls to zero"),
        ({"schedule": {"decay": "step", "milestones": [0.5]}}, "times 0.1 after 50%"),
        ({"schedule": {"decay": "constant"}}, "a constant rate"),
        ({"early_stopping": {"patience": 3}}, "ends early.*mIoU.*3 evaluations"),
        ({"average": {"kind": "ema"}}, "EMA, decay 0.9999"),
        ({"average": {"kind": "swa", "every": 100}}, "every 100 steps after 75%.*SWA"),
    ],
    ids=str,
)
def test_the_recipe_in_words(factory, recipe, words):
    spec = factory.record("a").spec.model_copy(update={"recipe": Recipe.model_validate(recipe)})
    text = " ".join(training_sentences(spec))
    assert re.search(words, text), text


def ended(record, steps, stopped=STOPPED, metric="miou"):
    update = {"steps": steps, "stopped": stopped, "metric": metric}
    convergence = record.convergence.model_copy(update=update)
    return record.model_copy(update={"convergence": convergence})


def test_trainings_that_ended_at_different_steps_do_not_compare_in_cost(factory):
    records = [ended(factory.record("a"), 120), ended(factory.record("b"), 400, None)]
    (found,) = [text for text in warnings(collect(factory.write(records))) if "Early" in text]
    assert "a 120; b 400" in found
    alike = [ended(factory.record(name), 120) for name in "ab"]
    assert not [
        text for text in warnings(collect(factory.write(alike, "alike"))) if "Early" in text
    ]


def test_the_metric_that_chose_the_checkpoint_is_said(factory):
    records = [ended(factory.record("a"), 400, None, "mean_class_accuracy")]
    (setting,) = collect(factory.write(records)).settings
    assert "best mean class accuracy" in " ".join(protocol(setting).sentences)


@pytest.mark.parametrize(("every", "told"), [(40, True), (400, False)])
def test_a_single_evaluation_says_nothing_of_how_fast_an_encoder_learns(factory, every, told):
    recipe = Recipe(steps=400, evaluate_every=every)
    progress = Progress(step=400, best_step=400)
    assert (HIGHEST in " ".join(about_training(recipe, progress))) == told
    record = factory.record("a")
    count = 400 // every
    curves = record.curves.model_copy(
        update={"val_steps": list(range(every, 401, every)), "val_score": [0.5] * count}
    )
    study = collect(factory.write([record.model_copy(update={"curves": curves})]))
    assert bool(convergence_rows(study.settings[0], ["a"])) == told
