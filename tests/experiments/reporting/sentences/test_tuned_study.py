"""The first screen and the method of a study that tunes, with the study's own recipe beside."""

import pytest

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.tuning.trials import tuning
from encoder_ablations.experiments.reporting.page.page import report_of
from encoder_ablations.experiments.reporting.sentences import summary
from encoder_ablations.experiments.reporting.sentences.answer import answer
from encoder_ablations.experiments.reporting.sentences.method import protocol
from encoder_ablations.experiments.reporting.sentences.training import training_sentences
from encoder_ablations.experiments.reporting.sentences.tuning import said_of_tuning
from encoder_ablations.experiments.runs.tuning.spec import FIRST_SEED, TuneSpec, TuningRole

RATES = {"optimizer.lr": [0.001, 0.01]}
TUNE = TuneSpec(settings=RATES, untuned=True)
TRIALS = {"a": (0.5, 0.4), "b": (0.2, 0.6)}
"""Validation scores of each encoder with each rate: with values of its own, b leads."""


def with_rate(record, rate, role, tune=None):
    """The record of a run with a learning rate of its own."""
    recipe = record.spec.recipe
    optimizer = recipe.optimizer.model_copy(update={"lr": rate})
    update = {
        "recipe": recipe.model_copy(update={"optimizer": optimizer}),
        "study_recipe": recipe,
        "tuning": TuningRole(role=role, values={"optimizer.lr": rate}, chosen_by=tune),
    }
    spec = record.spec.model_copy(update=update)
    return record.model_copy(update={"spec": spec, "run_id": spec.run_id})


def tuned_runs(factory, encoder, scores, tune=TUNE, **options):
    runs = [factory.record(encoder, miou, seed=s, **options) for s, miou in enumerate(scores)]
    return [with_rate(run, 0.001, "report", tune) for run in runs]


def trials(factory, encoder, **options):
    scores = zip(RATES["optimizer.lr"], TRIALS[encoder], strict=True)
    return [
        with_rate(factory.record(encoder, miou, seed=FIRST_SEED, **options), rate, "trial")
        for rate, miou in scores
    ]


@pytest.fixture
def folder(factory):
    """Two encoders, tuned and with the study's own recipe: a leads on the report split."""
    test = {"report_split": "test"}
    slow = test | {"latency": 50.0}
    records = []
    for encoder, lead in (("a", 0.1), ("b", 0.0)):
        own = [factory.record(encoder, 0.5 + lead + s / 100, seed=s, **slow) for s in range(3)]
        chosen = [0.61 + lead, 0.62 + lead, 0.635 + lead / 2]
        records += [*own, *tuned_runs(factory, encoder, chosen, **test), *trials(factory, encoder)]
    return factory.write(records)


@pytest.fixture
def study(folder):
    return collect(folder)


def test_settings_are_called_tuned_and_the_studys_own_recipe_in_this_order(study):
    titles = [setting.title for setting in study.settings]
    assert titles == ["mars · linear (tuned)", "mars · linear (the study's own recipe)"]


def test_two_tunings_are_told_apart_by_their_trials(factory):
    more = TuneSpec(settings={"optimizer.lr": [0.001, 0.01, 0.1]})
    records = [*tuned_runs(factory, "a", [0.5]), *tuned_runs(factory, "a", [0.6], more)]
    titles = [setting.title for setting in collect(factory.write(records)).settings]
    assert ["2 trials" in title for title in titles] == [True, False]
    assert "3 trials" in titles[1]


def test_the_scope_says_which_setting_is_tuned(study):
    scopes = [answer(setting, Resampling(study), []).scope for setting in study.settings]
    assert scopes[0].startswith("mars, head linear, tuned, 100 %")
    assert scopes[1].startswith("mars, head linear, the study's own recipe, 100 %")


def test_the_untuned_recipe_counts_as_no_setting_of_its_own(study):
    assert summary.one_answer(study, ["a leads."]) == "a leads."
    assert "the lead of a over b" in summary.sure_line(study)
    # of two datasets each counts once
    assert "settings" not in summary.sure_line(study)


def test_the_cost_counts_trials_and_gives_one_latency_for_one_network(study):
    assert summary.cost_line(study) == (
        "a needs 40.0 ms (median of 6 runs) and 20.0 GFLOPs for an image; "
        "training 12 runs and 4 trials took 53 min."
    )


def test_the_page_names_the_tuned_setting_under_its_answer(folder):
    page = report_of(collect(folder)).page.read_text(encoding="utf-8")
    first = page.partition("</section>")[0]
    assert "mars, head linear, tuned" in first
    assert "of 2 settings" not in first
    assert "<li>4 trials</li>" in first
    assert "tuning=" not in page
    # the headline of the tuned setting is the page's title, and that of the other one is not
    assert page.count('<p class="scope">mars, head linear') == 3
    assert page.count("</p>\n<h2>") == 1


def test_each_sentence_on_tuning_says_which_images_it_is_of(study):
    (place,) = tuning(study.groups, study.trials)
    fixed, apart, tried = said_of_tuning(place)[:3]
    assert fixed.startswith("On the test images, the study's recipe for all (lr 0.0001) names")
    assert fixed.endswith("the same leader as values of each encoder's own: a.")
    assert apart.startswith(
        "The trials and the tuned runs disagree about the leader: b has the best trial (60.0 % on "
        "the validation images), a the highest mean of the tuned runs ("
    )
    assert "on the test images). The ranking" in apart
    assert tried.startswith("On the validation images, b leads")


def test_the_terminal_says_that_trials_and_tuned_runs_disagree(folder):
    assert "disagree about the leader" in report_of(collect(folder)).headlines[-1]


def test_the_method_of_the_tuned_setting_claims_no_value_that_encoders_chose(study):
    chosen, own = map(protocol, study.settings)
    told = " ".join(chosen.sentences)
    assert "learning rate 0.0001" not in told
    assert "learning rate of each encoder's own (0.1 times that in the encoder's body)" in told
    assert "Values of optimizer.lr differ by encoder" in told
    assert dict(chosen.values)["recipe.optimizer.lr"].startswith("differs by encoder")
    assert "learning rate 0.0001 (0.1 times" in " ".join(own.sentences)
    assert dict(own.values)["recipe.optimizer.lr"] == "0.0001"


def test_tuned_multipliers_and_schedules_are_left_out(study):
    spec = study.settings[0].groups[0].spec
    names = ("optimizer.lr", "optimizer.encoder_lr_multiplier", "schedule.warmup_steps")
    role = spec.tuning.model_copy(update={"values": dict.fromkeys(names, 1)})
    told = " ".join(training_sentences(spec.model_copy(update={"tuning": role})))
    assert "AdamW, weight decay 0.05." in told
    assert "warm-up" not in told
