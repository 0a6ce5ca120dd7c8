import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.label_efficiency import efficiency
from encoder_ablations.experiments.reporting.findings.ranking import pareto_front, ranking
from encoder_ablations.experiments.reporting.sentences.answer import answer
from encoder_ablations.experiments.reporting.sentences.cost import cost_sentences, front_sentence
from encoder_ablations.experiments.reporting.sentences.pretraining_gain import gain, gain_headline


@pytest.fixture
def study_of(factory):
    def write(*records):
        return collect(factory.write(list(records)))

    return write


@pytest.fixture
def said(study_of):
    def write(*records):
        study = study_of(*records)
        (setting,) = study.settings
        return answer(setting, Resampling(study), gain_headline(setting))

    return write


@pytest.fixture
def said_of_gain(study_of):
    return lambda *records: gain(study_of(*records).settings[0])


@pytest.fixture
def said_of_cost(study_of):
    def write(*records):
        (setting,) = study_of(*records).settings
        return cost_sentences(ranking(setting, setting.reference))

    return write


def runs(factory, encoder, values, **options):
    return [
        factory.record(encoder, value, seed=seed, **options) for seed, value in enumerate(values)
    ]


def everything(found):
    return " ".join([found.headline, *found.scores, *found.sure])


def test_lead_that_holds(factory, said):
    found = said(*runs(factory, "a", [0.70, 0.72, 0.74]), *runs(factory, "b", [0.65, 0.66, 0.70]))
    assert (
        found.headline
        == "a is the best encoder here, 5.0 points ahead of the next (95 % interval 2.5 to 7.5)."
    )
    assert found.scores == [
        "a scores 72.0 % mIoU.",
        "The next, b, scores 67.0 %, 5.0 points less on the seeds that both have "
        "(95 % interval 2.5 to 7.5).",
    ]
    assert (
        "a scored higher than b in 3 of 3 shared seeds: chance does not explain this "
        "(paired t test, p = 0.013)." in found.sure
    )


def test_lead_within_the_noise_is_not_called_one(factory, said):
    found = said(*runs(factory, "a", [0.70, 0.72, 0.74]), *runs(factory, "b", [0.75, 0.66, 0.70]))
    assert found.headline == "a ranks first, but the seeds do not separate it from b."
    assert "best" not in everything(found)
    assert "this could be chance" in everything(found)


@pytest.mark.parametrize(("count", "seeds"), [(1, "1 seed"), (2, "2 seeds")])
def test_no_claim_below_three_seeds(factory, said, count, seeds):
    found = said(
        *runs(factory, "a", [0.90, 0.91][:count]), *runs(factory, "b", [0.10, 0.11][:count])
    )
    assert found.headline == f"a is ahead in this small sample; {seeds} cannot show more than that."
    text = everything(found)
    for claim in ("best", "± ", "95 % interval", "paired t test", "chance"):
        assert claim not in text


def test_holm_makes_many_comparisons_stricter(factory):
    records = [*runs(factory, "a", [0.70, 0.72, 0.74]), *runs(factory, "b", [0.65, 0.66, 0.70])]
    noise = [[0.6, 0.5, 0.66], [0.5, 0.62, 0.6], [0.61, 0.5, 0.57]]
    records += [
        run
        for name, values in zip("cde", noise, strict=True)
        for run in runs(factory, name, values)
    ]
    (setting,) = collect(factory.write(records)).settings
    pair = ranking(setting, 1.0).comparisons[0]
    assert (pair.first.encoder, pair.second.encoder) == ("a", "b")
    assert pair.difference.p < 0.05 < pair.p
    assert not pair.holds


def test_equal_scores_are_level(factory, said):
    assert said(factory.record("a", 0.7), factory.record("b", 0.7)).headline.startswith(
        "a and b score the same"
    )


def test_single_encoder_and_no_result(factory, said):
    assert "no other encoder has a result" in said(factory.record("a", 0.7)).headline


def test_only_failures(factory, said):
    assert said(factory.failure("a")).headline == "No run has finished yet, so there is no answer."


def test_disjoint_seeds_are_not_compared(factory, said):
    found = said(factory.record("a", 0.8, seed=0), factory.record("b", 0.5, seed=1))
    assert "shares no seed with b" in found.headline


def test_order_on_shared_seeds_contradicts_the_means(factory, said):
    found = said(*runs(factory, "a", [0.5, 0.9]), factory.record("b", 0.6))
    assert found.headline == "a has the highest mean, but b is ahead on the seeds that both have."


def test_random_weights_measure_architectures(factory, said_of_gain):
    (sentence,) = said_of_gain(
        factory.record("a", 0.6, weights="random"), factory.record("b", 0.5, weights="random")
    )
    assert "architectures only" in sentence


def test_without_a_control_pretraining_cannot_be_told(factory, said_of_gain):
    (sentence,) = said_of_gain(factory.record("a"), factory.record("b", 0.5))
    assert "cannot tell what pretraining adds" in sentence


def test_what_pretraining_adds(factory, said_of_gain):
    records = [
        *runs(factory, "a", [0.70, 0.72, 0.74]),
        *runs(factory, "a", [0.65, 0.66, 0.70], weights="random"),
    ]
    found = said_of_gain(*records, factory.record("b", 0.3))
    assert (
        found[0]
        == "With 100 % of the images, pretraining adds 5.0 points to a (95 % interval 2.5 to 7.5)."
    )
    assert found[-1].startswith("b has no finished run from random weights")


def test_pretraining_that_harms_is_said_so(factory, said_of_gain):
    records = [
        *runs(factory, "a", [0.65, 0.66, 0.70]),
        *runs(factory, "a", [0.70, 0.72, 0.74], weights="random"),
    ]
    text = (
        "With 100 % of the images, pretraining lowers the score of a by 5.0 points "
        "(95 % interval 2.5 to 7.5)."
    )
    assert said_of_gain(*records)[0] == text


def test_label_efficiency(factory):
    records = [factory.record("a", m, f) for f, m in ((0.1, 0.4), (0.5, 0.6), (1.0, 0.7))]
    records += [
        factory.record("a", m, f, weights="random") for f, m in ((0.1, 0.2), (0.5, 0.4), (1.0, 0.6))
    ]
    (setting,) = collect(factory.write(records)).settings
    share, found = efficiency(setting, "a", "a (random weights)")
    assert (share, found.fraction) == (1.0, pytest.approx(0.5))
    assert math.isnan(efficiency(setting, "a (random weights)", "a")[1].fraction)
    assert (
        "a needs about 50 % of the images to score as much as a (random weights) does with 100 %."
        in gain(setting)
    )


def test_cost_against_the_cheapest(factory, said_of_cost):
    found = said_of_cost(
        factory.record("a", 0.8, gflops=100, latency=50),
        factory.record("b", 0.7, gflops=20, latency=12.5),
    )
    assert found[0].startswith(
        "a needs 100 GFLOPs (billion multiply-adds) for an image, 50.0 ms and 3 min 20 s"
    )
    assert found[1] == (
        "That is 5.0 times the computation of the cheapest, b (20.0 GFLOPs for an image, 12.5 ms), "
        "whose mean score is 10.0 points lower in this small sample."
    )


def test_words_about_cost_claim_no_more_than_the_headline(factory, said_of_cost):
    """The front goes by means; "scores less" is said only where the seeds show it."""

    def cost(dear, cheap, *others):
        records = [
            *runs(factory, "a", dear, gflops=100),
            *runs(factory, "b", cheap, gflops=20),
            *others,
        ]
        return " ".join(said_of_cost(*records))

    level = cost([0.70, 0.72, 0.74], [0.75, 0.66, 0.70], factory.record("c", 0.1, gflops=500))
    assert "whose mean score is 1.7 points lower; the seeds do not separate the two." in level
    assert "The seeds do not show that a scores more than the cheaper b." in level
    assert "scores no more" not in level
    assert "1.7 points less" not in level


def test_a_shown_difference_is_said_with_the_cost(factory, said_of_cost):
    records = [
        *runs(factory, "a", [0.70, 0.72, 0.74], gflops=100),
        *runs(factory, "b", [0.65, 0.66, 0.70], gflops=20),
    ]
    text = " ".join(said_of_cost(*records))
    assert "which scores 5.0 points less." in text
    assert "do not" not in text
    (setting,) = collect(factory.write(records)).settings
    assert front_sentence(ranking(setting, 1.0)).startswith(
        "The dotted line joins the best choices"
    )


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        (
            [0.75, 0.66, 0.70],
            "and has the highest mean score, but the seeds do not separate it from b.",
        ),
        ([0.65, 0.66, 0.70], "and scores more than all others."),
        ([0.65, 0.66], "and has the highest mean score; 2 seeds cannot show more than that."),
    ],
)
def test_the_cheapest_that_ranks_first(factory, others, sentence):
    records = [
        *runs(factory, "a", [0.70, 0.72, 0.74], gflops=5),
        *runs(factory, "b", others, gflops=20),
    ]
    (setting,) = collect(factory.write(records)).settings
    assert (
        front_sentence(ranking(setting, 1.0))
        == f"a needs no more computation than any other encoder {sentence}"
    )


def test_equal_computation_is_not_called_less(factory):
    """Loaded and random weights of one network cost the same."""
    records = [
        *runs(factory, "a", [0.70, 0.72, 0.74]),
        *runs(factory, "a", [0.65, 0.66, 0.70], weights="random"),
    ]
    (setting,) = collect(factory.write(records)).settings
    assert "needs no more computation" in front_sentence(ranking(setting, 1.0))
    assert "No other encoder needs less computation." in cost_sentences(ranking(setting, 1.0))


def test_failures_are_mentioned(factory, said):
    found = said(factory.record("a"), factory.record("b", 0.5), factory.failure("b", seed=1))
    assert "1 run failed and is not in the numbers." in found.sure


def test_ranking_is_by_mean(factory):
    records = [*runs(factory, "a", [0.9, 0.1]), *runs(factory, "b", [0.6, 0.6])]
    (setting,) = collect(factory.write(records)).settings
    assert [standing.encoder for standing in ranking(setting, 1.0).standings] == ["b", "a"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_nothing_dominates_the_front(points):
    costs, quality = zip(*points, strict=True)
    front = pareto_front(costs, quality)
    for (cost, value), on_front in zip(points, front, strict=True):
        dominated = any((c <= cost and v > value) or (c < cost and v >= value) for c, v in points)
        assert on_front != dominated
