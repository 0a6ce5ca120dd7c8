"""Seeds that are added until they say enough."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.commands import run
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.sentences.seeds import promise, seed_sentences
from encoder_ablations.experiments.stats.sequential import half_width_factor
from encoder_ablations.experiments.studies.known import Known
from encoder_ablations.experiments.studies.saved_rule import read_seed_rule
from encoder_ablations.experiments.studies.saved_study import save_study
from encoder_ablations.experiments.studies.seed_decisions import Decision, decide
from encoder_ablations.experiments.studies.seed_rounds import add_seeds
from encoder_ablations.experiments.studies.seed_rule import SeedRule
from encoder_ablations.experiments.studies.study import load_study_spec, plan

SEPARATED = {"from": 3, "to": 12, "until": "separated"}
NARROW = {"from": 3, "to": 12, "until": {"width": 2.0}}


def rule_of(content):
    return SeedRule.model_validate(content)


def scores(*values):
    return dict(enumerate(values))


def clear(offset):
    """Three scores that differ by a hundredth of a point from seed to seed."""
    return scores(offset, offset + 1e-4, offset + 2.5e-4)


def test_clear_differences_end_with_the_first_seeds():
    found = decide(rule_of(SEPARATED), {"a": clear(0.5), "b": scores(0.4, 0.4, 0.4)})
    assert {name: each.seeds for name, each in found.items()} == {"a": 3, "b": 3}
    assert all("every other encoder" in each.why for each in found.values())


def test_who_is_in_doubt_goes_on_and_who_is_settled_does_not():
    doubtful = {"b": scores(0.40, 0.41, 0.40), "c": scores(0.40, 0.40, 0.41)}
    found = decide(rule_of(SEPARATED), {"a": scores(0.9, 0.9, 0.9001), **doubtful})
    assert found["a"].seeds == 3
    assert found["a"].why
    assert found["b"] == found["c"] == Decision(4)
    # a lead of six deviations is not enough for three seeds
    near = decide(rule_of(SEPARATED), {"a": scores(0.45, 0.46, 0.44), **doubtful})
    assert near["a"] == Decision(4)


def test_a_settled_encoder_gets_no_more_seeds():
    steady = scores(0.9, 0.90001, 0.90002)
    b = scores(*(0.4 + 1e-5 * math.sin(7 * seed) for seed in range(5)))
    c = scores(*(0.4 + 1e-5 * math.cos(3 * seed) for seed in range(5)))
    found = decide(rule_of(SEPARATED), {"a": steady, "b": b, "c": c})
    assert found["a"].seeds == 3
    assert found["a"].why
    assert found["b"] == found["c"] == Decision(6), "the sixth seed is asked for"


def test_a_narrow_interval_is_enough():
    values = 0.5 + 0.008 * np.random.default_rng(1).normal(size=12)
    found = decide(rule_of(NARROW), {"a": scores(*values)})["a"]
    first = values[: found.seeds]
    half = half_width_factor(found.seeds, 12) * first.std(ddof=1) / math.sqrt(found.seeds)
    assert 200 * half <= 2.0
    fewer = values[: found.seeds - 1]
    half = half_width_factor(len(fewer), 12) * fewer.std(ddof=1) / math.sqrt(len(fewer))
    assert 3 < found.seeds < 12
    assert 200 * half > 2.0


def test_the_end_of_the_rule_is_an_end():
    wild = scores(*np.random.default_rng(2).random(12))
    found = decide(rule_of(NARROW), {"a": wild})["a"]
    assert (found.seeds, "most" in found.why) == (12, True)


def test_what_failed_is_waited_for_no_longer():
    failed = dict.fromkeys(range(12))
    assert "finished" in decide(rule_of(NARROW), {"a": failed})["a"].why
    some = {0: 0.5, 1: None, 2: 0.6}
    assert decide(rule_of(NARROW), {"a": some})["a"] == Decision(4)


def test_what_is_known_once_stays_known_whatever_comes_in_which_order():
    rng = np.random.default_rng(5)
    whole = {
        name: scores(*rng.normal(mean, 0.01, 12))
        for name, mean in zip("abc", (5, 5, 9), strict=True)
    }
    ended = {name: {} for name in whole}
    known = {name: 0 for name in whole}
    for _ in range(36):
        found = decide(rule_of(SEPARATED), ended)
        for name, each in found.items():
            assert each.seeds >= known[name]
            known[name] = each.seeds
        waiting = [(name, s) for name in whole for s in range(known[name]) if s not in ended[name]]
        if not waiting:
            break
        name, seed = waiting[rng.integers(len(waiting))]
        ended[name][seed] = whole[name][seed]
    assert decide(rule_of(SEPARATED), whole) == decide(rule_of(SEPARATED), ended)


def family_claims(rng, encoders=3, last=8):
    """Whether the rule ever claims a difference between equal encoders, as the report does."""
    rule = rule_of({"from": 3, "to": last, "until": "separated"})
    values = rng.normal(size=(encoders, last))
    found = decide(rule, {str(name): scores(*row) for name, row in enumerate(values)})
    return any("difference" in each.why for each in found.values())


def test_false_claims_of_the_rule_stay_below_five_in_a_hundred():
    rng = np.random.default_rng(9)
    assert np.mean([family_claims(rng) for _ in range(200)]) <= 0.05


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ({"from": 1, "to": 5, "until": "separated"}, "seeds.from"),
        ({"from": 5, "to": 4, "until": "separated"}, "to 4 is less than from 5"),
        ({"from": 3, "to": 5, "until": {"width": 0}}, "seeds.until.width"),
        ({"from": 3, "to": 5, "until": {"width": -1}}, "seeds.until.width"),
        ({"from": 3, "to": 5, "until": "sepparated"}, "separated"),
        ({"from": 3, "to": 5, "until": "forever"}, "or a width in points such as {width: 1.0}"),
        ({"from": 3, "to": 101, "until": "separated"}, "seeds.to"),
    ],
)
def test_rules_that_can_never_end_are_refused(studies, rule, word, capsys):
    assert main(["run", studies.write(seeds=rule), "--dry-run"]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert len(said.splitlines()) == 1


def test_one_encoder_is_never_separated(studies, capsys):
    alone = [{"name": "test_resnet", "weights": "random", "channels": 32}]
    assert main(["run", studies.write(seeds=SEPARATED, encoders=alone), "--dry-run"]) == 2
    assert "no other encoder" in capsys.readouterr().err


def test_a_study_that_tunes_has_no_rule(studies, capsys):
    tune = {"settings": {"optimizer.lr": [0.001, 0.01]}, "trials": 2}
    assert main(["run", studies.write(seeds=SEPARATED, tune=tune), "--dry-run"]) == 2
    assert "tune does not go with a rule for seeds" in capsys.readouterr().err


def test_heads_without_labels_and_lists_of_seeds_stay_as_they_are(studies):
    listed = load_study_spec(studies.write(seeds=[0, 1, 2]))
    ruled = load_study_spec(studies.write(seeds=SEPARATED))
    assert [run.run_id for run in plan(listed)] == [run.run_id for run in plan(ruled)]
    known = add_seeds(ruled, Known(plan(ruled)), {})
    assert known.runs == plan(ruled)
    assert "more seeds may follow" in known.following[0]


@pytest.fixture
def tiny(studies, monkeypatch):
    monkeypatch.setattr(run, "_write_report", lambda *_: [])
    encoders = [
        {"name": "test_resnet", "weights": "random", "channels": 32, "label": name, "taps": None}
        for name in ("a", "b")
    ]
    encoders[1]["channels"] = 64
    rule = {"from": 2, "to": 3, "until": {"width": 0.001}}
    return studies.write(steps=2, encoders=encoders, seeds=rule)


IN_PROCESSES = pytest.param(["--processes", "2"], id="processes", marks=pytest.mark.slow)


@pytest.mark.parametrize("how", [pytest.param([], id="here"), IN_PROCESSES])
def test_seeds_follow_until_the_last_one_and_the_report_says_why(tiny, how, capsys):
    assert main(["run", tiny, "--device", "cpu", "--output", "out", *how]) == 0
    said = capsys.readouterr().out
    assert said.count("2 runs follow from these results") == 1
    assert len(list(Path("out").glob("runs/*/record.json"))) == 6
    stopped = json.loads(Path("out/seeds.json").read_text())
    assert len(stopped) == 2
    assert all("3 seeds" in line and "the most" in line for line in stopped)
    (setting,) = collect(Path("out")).settings
    said = " ".join(seed_sentences(setting))
    assert "3 seeds; the most that the study allows." in said
    # one look with three seeds: nothing is paid for looking
    assert "The results were looked at once, with 3 seeds" in said
    assert "wider" not in said
    score = setting.groups[0].score
    assert score.half_width == pytest.approx(half_width_factor(3, 3) * score.std / 3**0.5)
    over = ranking(setting, 1.0).comparisons[0].difference.over
    assert over.half_width == pytest.approx(half_width_factor(3, 3) * over.std / 3**0.5)


def test_a_rule_that_is_raised_after_results_no_longer_keeps_its_promise(studies):
    ended = Path("out/runs/x/record.json")
    said = []
    # the first number counts, and whoever goes back to it keeps the promise
    for to in (4, 5, 6, 8, 5):
        seeds = {"from": 2, "to": to, "until": {"width": 1.0}}
        save_study(load_study_spec(studies.write(seeds=seeds)), Path("out"))
        said += promise(read_seed_rule(Path("out")))
        # nothing is known before the second version
        ended.parent.mkdir(parents=True, exist_ok=True)
        if to == 5:
            ended.touch()
    wider = ["wider than ordinary ones" in text for text in said]
    assert wider == [True, True, False, False, True]
    assert all("allowed 5 seeds at most, and more" in text for text in said[2:4])
