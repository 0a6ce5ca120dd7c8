"""The first lines of the page."""

import pytest

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.sentences import summary


def written(factory, *records):
    return collect(factory.write(list(records)))


def runs(factory, encoder, values, **options):
    return [factory.record(encoder, value, seed=s, **options) for s, value in enumerate(values)]


def test_one_setting_answers_in_one_sentence(factory):
    study = written(factory, *runs(factory, "a", [0.7]))
    told = "Pretraining adds 5.0 points. a is the best encoder here."
    assert summary.one_answer(study, [told]) == (
        "Pretraining adds 5.0 points; a is the best encoder here."
    )


def test_gains_of_several_settings_are_named(factory):
    records = []
    for dataset, gain in (("mars", 0.1), ("moon", 0.2)):
        records += runs(factory, "a", [0.70, 0.72, 0.74], dataset=dataset)
        lower = [0.70 - gain, 0.721 - gain, 0.74 - gain]
        records += runs(factory, "a", lower, dataset=dataset, weights="random")
    study = written(factory, *records)
    assert summary.one_answer(study, ["", ""]) == (
        "Pretraining adds 10.0 points on mars · linear and 20.0 points on moon · linear."
    )
    assert summary.sure_line(study) == (
        "3 seeds for each encoder; the first encoder leads by more than chance explains in 2 of 2 "
        "settings."
    )
    assert "training 12 finished runs took 40 min" in summary.cost_line(study)


def test_without_controls_the_leaders_are_counted(factory):
    records = [*runs(factory, "a", [0.7]), *runs(factory, "b", [0.6])]
    records += [
        *runs(factory, "a", [0.7], dataset="moon"),
        *runs(factory, "b", [0.8], dataset="moon"),
    ]
    told = summary.one_answer(written(factory, *records), ["", ""])
    assert told == "The highest mean score: a in 1 of 2 settings and b in 1 of 2 settings."


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0.5], "1 seed for each encoder: below 3 there is no interval and no test."),
        ([0.70, 0.71, 0.72], "3 seeds for each encoder; nothing to compare."),
    ],
)
def test_certainty(factory, values, told):
    assert summary.sure_line(written(factory, *runs(factory, "a", values))) == told


def test_nothing_is_said_where_nothing_has_finished(factory):
    study = written(factory, factory.failure("a"), factory.failure("a", dataset="moon"))
    assert "no answer" in summary.one_answer(study, ["", ""])
    assert (summary.cost_line(study), summary.sure_line(study)) == ("", "")


def test_one_encoder_with_several_heads_or_datasets(factory):
    records = [factory.record("a", 0.6), factory.record("a", 0.8, dataset="moon")]
    told = summary.one_answer(written(factory, *records), ["", ""])
    assert told == "a scores 80.0 % on moon · linear and 60.0 % on mars · linear."
