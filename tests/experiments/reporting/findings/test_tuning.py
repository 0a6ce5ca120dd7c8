"""Edges of what was tried, who leads with which values, and two orders of encoders."""

from types import SimpleNamespace

import pytest

from encoder_ablations.experiments.reporting.findings.tuning.fixed_recipe import two_orders
from encoder_ablations.experiments.reporting.findings.tuning.trials import (
    Trial,
    Tuned,
    TunedPlace,
    sensitivity,
)
from encoder_ablations.experiments.reporting.sentences.tuning import said_of_tuning
from encoder_ablations.experiments.runs.tuning.spec import TuneSpec, TuningRole

LISTS = {"optimizer.lr": [1e-4, 1e-3, 1e-2]}
RANGE = {"optimizer.lr": {"from": 1e-4, "to": 1e-2, "log": True}}
SCORES = {"a": {1e-4: 0.6, 1e-3: 0.5, 1e-2: 0.4}, "b": {1e-4: 0.2, 1e-3: 0.3, 1e-2: 0.8}}


def group_of(encoder, scores, spec=None):
    """As much of a group of runs as is read."""
    mean = sum(scores.values()) / len(scores)
    score = SimpleNamespace(n=len(scores), mean=mean)
    return SimpleNamespace(encoder=encoder, score=score, values=lambda: scores, spec=spec, runs=())


def tuned(encoder, settings=LISTS, chosen=None, search="grid"):
    trials = [
        Trial({"optimizer.lr": lr}, score, False, 1.0) for lr, score in SCORES[encoder].items()
    ]
    best = max(trials, key=lambda trial: trial.score).values
    tune = TuneSpec(settings=settings, search=search, trials=3)
    values = {"optimizer.lr": chosen} if chosen else best
    spec = SimpleNamespace(tuning=TuningRole(role="report", values=values, chosen_by=tune))
    return Tuned(encoder, tuple(trials), 3.0, group_of(encoder, {0: 0.5}, spec), None)


@pytest.mark.parametrize(("chosen", "end"), [(1e-4, "smallest"), (1e-3, None), (1e-2, "largest")])
def test_the_first_and_the_last_value_of_a_list_are_its_edges(chosen, end):
    assert tuned("a", chosen=chosen).edges.get("optimizer.lr") == end


@pytest.mark.parametrize(
    ("chosen", "end"), [(1.5e-4, "smallest"), (3e-4, None), (3e-3, None), (7e-3, "largest")]
)
def test_a_tenth_of_a_range_is_its_edge(chosen, end):
    assert tuned("a", RANGE, chosen, "random").edges.get("optimizer.lr") == end


def test_the_leader_of_each_value_and_of_each_half_of_a_range():
    place = TunedPlace("place", 1.0, (tuned("a"), tuned("b")))
    assert [(part.leader, round(part.lead, 3)) for part in sensitivity(place)] == [
        ("a", 0.4),
        ("a", 0.2),
        ("b", 0.4),
    ]
    drawn = [tuned(each, RANGE, search="random") for each in "ab"]
    halves = list(sensitivity(TunedPlace("place", 1.0, tuple(drawn))))
    assert [part.leader for part in halves] == ["a", "b"]
    assert halves[0].best == {"a": 0.6, "b": 0.3}


def test_sentences_count_the_recipes_that_name_another_leader():
    place = TunedPlace("place", 1.0, (tuned("a"), tuned("b")))
    said = said_of_tuning(place)
    assert said[0] == (
        "On the validation images, b leads when each encoder has its best values; of the 3 recipes "
        "that all encoders tried, 2 put a first."
    )
    assert "a: the best optimizer.lr, 0.0001, is at the edge" in " ".join(said)


def test_two_orders_are_settled_only_by_enough_seeds():
    low, high = {0: 0.30, 1: 0.31, 2: 0.30}, {0: 0.60, 1: 0.62, 2: 0.61}
    orders = two_orders(
        [group_of("a", low), group_of("b", high)], [group_of("a", high), group_of("b", low)]
    )
    assert (orders.fixed, orders.tuned, orders.misleads, orders.settled) == ("a", "b", True, True)
    few = {0: 0.3, 1: 0.31}, {0: 0.6, 1: 0.62}
    unsure = two_orders(
        [group_of("a", few[0]), group_of("b", few[1])],
        [group_of("a", few[1]), group_of("b", few[0])],
    )
    assert unsure.misleads
    assert not unsure.settled
    assert two_orders([group_of("a", low), group_of("b", high)], [None, group_of("b", low)]) is None
