"""The first lines of the page."""

import pytest

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.sentences import summary
from encoder_ablations.experiments.reporting.sentences.answer import answer
from encoder_ablations.experiments.reporting.sentences.cost import cost_sentences
from encoder_ablations.segmenters.spec import SegmenterSpec


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
    assert summary.one_answer(study, ["a is ahead. The first two differ."]) == (
        "a is ahead; the first two differ."
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


def headed(factory, head, miou, fraction=1.0, seed=0, encoder="a"):
    """The record of a run with another head."""
    record = factory.record(encoder, miou, fraction, seed, train_seconds=100.0)
    spec = record.spec.model_copy(update={"segmenter": head})
    return record.model_copy(update={"spec": spec, "run_id": spec.run_id})


KNN = SegmenterSpec(name="few_shot", method="knn")
HEADS = [SegmenterSpec(name="zero_shot", method=each) for each in ("maskclip", "naclip")]


@pytest.fixture
def few_labels(factory):
    """One encoder with two heads without labels, one that reads labels once, one that learns."""
    records = [
        headed(factory, head, miou, 0.0) for head, miou in zip(HEADS, (0.3, 0.2), strict=True)
    ]
    records += [headed(factory, KNN, 0.4, fraction, s) for fraction in (0.1, 1.0) for s in range(3)]
    records += runs(factory, "a", [0.5, 0.5, 0.5])
    return written(factory, *records)


def test_every_head_of_a_single_encoder_is_named_with_its_labels(few_labels):
    told = summary.one_answer(few_labels, ["", "", "", ""])
    assert "50.0 % with 100 % of the images on mars · linear" in told
    assert "40.0 % with 100 % of the images on mars · few_shot knn" in told
    assert "30.0 % without labels on mars · zero_shot maskclip" in told
    assert "20.0 % without labels on mars · zero_shot naclip" in told


def test_very_many_heads_are_counted(factory):
    records = [factory.record("a", 0.5, dataset=f"d{number}") for number in range(9)]
    told = summary.one_answer(written(factory, *records), [""] * 9)
    assert "less in 3 other settings" in told


def test_runs_that_train_nothing_are_not_called_training(few_labels):
    assert "training 3 finished runs took 10 min" in summary.cost_line(few_labels)
    # one run without labels is no seed
    assert summary.sure_line(few_labels).startswith("3 seeds for each encoder")
    for setting in few_labels.settings:
        ranked = ranking(setting, setting.reference)
        (cost,) = cost_sentences(ranked)
        sure = " ".join(answer(setting, Resampling(few_labels), []).sure)
        trained = setting.segmenter == "linear"
        assert ("of training" in cost) == trained
        assert ("was trained" in sure) == (trained or setting.without_labels)
        assert ("labelled images once" in cost) == (setting.segmenter == "few_shot knn")


def test_without_any_training_the_cost_says_so(factory):
    study = written(factory, headed(factory, KNN, 0.4))
    assert "nothing was trained" in summary.cost_line(study)
