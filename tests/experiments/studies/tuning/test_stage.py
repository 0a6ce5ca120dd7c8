"""Which trials a study that tunes has, which values it chooses, and which runs follow."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
import yaml

from encoder_ablations.experiments.runs.tuning.spec import FIRST_SEED, Range, TuneSpec
from encoder_ablations.experiments.studies.known import Known
from encoder_ablations.experiments.studies.rounds import known_runs
from encoder_ablations.experiments.studies.saved_study import resolve_study
from encoder_ablations.experiments.studies.study import StudySpec, load_study_spec, plan
from encoder_ablations.experiments.studies.tuning import tpe
from encoder_ablations.experiments.studies.tuning.draws import listed_trials
from encoder_ablations.experiments.studies.tuning.tpe import next_trial
from encoder_ablations.utils.errors import InputError

GRID = {"optimizer.lr": [1e-4, 1e-3, 1e-2], "optimizer.weight_decay": [0.0, 0.05]}
LOG = {"optimizer.lr": {"from": 1e-5, "to": 1e-1, "log": True}}
STUDY = {
    "name": "tuned",
    "encoders": [{"name": "vit_ti16", "label": "vit"}, {"name": "test_resnet", "label": "dark"}],
    "segmenters": ["linear"],
    "datasets": ["camvid"],
    "fractions": [0.1, 1.0],
    "recipe": {"steps": 90},
    "tune": {"settings": GRID},
}
BEST = {"vit": 1e-3, "dark": 1e-2}
"""The learning rate at which each encoder is best."""


@pytest.fixture
def load(tmp_path):
    def load(**changes):
        path = tmp_path / "tuned.yaml"
        path.write_text(yaml.safe_dump(STUDY | changes))
        return load_study_spec(str(path))

    return load


def record_of(run, score, error=None):
    """As much of a record as choices depend on."""
    failed = None if error is None else SimpleNamespace(type=error)
    metrics = None if error else SimpleNamespace(main=score)
    data = SimpleNamespace(report_split="val" if run.is_trial else "test")
    return SimpleNamespace(spec=run, metrics=metrics, error=failed, data=data)


def score_of(run):
    """Highest at the encoder's best rate, and a little less with weight decay."""
    optimizer = run.recipe.optimizer
    distance = abs(math.log10(optimizer.lr / BEST[run.encoder.label]))
    return 0.9 - 0.1 * distance - optimizer.weight_decay - run.seed / 1e6


def complete(study, score=score_of):
    """Compute round by round; return what is known at the end, and the number of rounds."""
    grid, records = plan(study), {}
    for count in range(100):
        known = known_runs(study, grid, records)
        new = [run for run in known.runs if run.run_id not in records]
        if not new:
            assert not known.expected
            return known, count
        records |= {run.run_id: record_of(run, score(run)) for run in new}
    raise AssertionError("there is no end")


def records_of(known):
    return {run.run_id: record_of(run, score_of(run)) for run in known.runs}


def trials_of(known):
    return [run for run in known.runs if run.is_trial]


def reported(known):
    return [run for run in known.runs if not run.is_trial]


def test_every_encoder_gets_the_same_trials_and_its_own_choice(load):
    study = load()
    before = known_runs(study, plan(study), {})
    assert len(trials_of(before)) == len(before.runs) == 6 * 2 * 2
    assert "0 of the 24 trials" in before.following[0]
    assert len(before.expected) == len(plan(study))
    known, rounds = complete(study)
    assert rounds == 2
    assert not known.following
    given = {}
    for run in trials_of(known):
        given.setdefault((run.encoder.label, run.fraction), []).append(run.tuning.values)
        assert run.seed == FIRST_SEED
    assert all(values == next(iter(given.values())) for values in given.values())
    runs = reported(known)
    assert len(runs) == len(plan(study))
    for run in runs:
        assert run.recipe.optimizer.lr == BEST[run.encoder.label]
        assert run.recipe.optimizer.weight_decay == 0
        assert run.study_recipe.optimizer.lr == 1e-4
        assert run.tuning.chosen_by == study.tune
        assert run.seed in study.seeds
    assert len({run.run_id for run in known.runs}) == len(known.runs)


def test_scores_on_test_images_change_no_choice(load):
    study = load()
    known, _ = complete(study)
    records = {run.run_id: record_of(run, score_of(run)) for run in trials_of(known)}
    for score in (0.0, 1.0):
        late = {run.run_id: record_of(run, score) for run in reported(known)}
        assert known_runs(study, plan(study), records | late) == known
    run = trials_of(known)[0]
    leaked = record_of(run, 1.0)
    leaked.data.report_split = "test"
    with pytest.raises(AssertionError):
        known_runs(study, plan(study), records | {run.run_id: leaked})


HALVED = {"settings": LOG, "search": "random", "trials": 9, "halving": {"factor": 3, "rounds": 3}}
SEARCHES = {
    "grid": {"settings": GRID, "trials": 4, "untuned": True},
    "two seeds": {"settings": GRID, "seeds": 2, "per": ["dataset"]},
    "halving": HALVED,
    "tpe": {"settings": LOG, "search": "tpe", "trials": 15},
}


@pytest.mark.parametrize("search", SEARCHES)
def test_as_many_runs_and_steps_as_expected_follow(search, load):
    if search == "tpe":
        pytest.importorskip("optuna")
    study = load(tune=SEARCHES[search], fractions=[1.0])
    before = known_runs(study, plan(study), {})
    foreseen = [*before.runs, *before.expected]
    known, _ = complete(study)

    def counted(runs):
        return Counter((run.encoder.label, run.is_trial, run.recipe.steps) for run in runs)

    assert counted(foreseen) == counted(known.runs)


def test_what_per_does_not_name_shares_a_choice(load):
    known, _ = complete(load(tune={"settings": GRID, "per": ["dataset"]}))
    chosen = {run.recipe.optimizer.lr for run in reported(known)}
    assert len(chosen) == 1
    # the mean over both encoders is equal at both rates, and the first one listed is taken
    assert chosen == {1e-3}


def test_trials_with_several_seeds_are_judged_by_their_mean(load):
    def score(run):
        lucky = run.recipe.optimizer.lr == 1e-4 and run.seed == FIRST_SEED
        return 0.75 if lucky else score_of(run) - 0.3

    tune = {"settings": GRID, "seeds": 3}
    known, _ = complete(load(tune=tune), score)
    assert {run.seed for run in trials_of(known)} == {FIRST_SEED + place for place in range(3)}
    assert {run.recipe.optimizer.lr for run in reported(known)} == {1e-3, 1e-2}
    once, _ = complete(load(tune={"settings": GRID}), score)
    assert {run.recipe.optimizer.lr for run in reported(once)} == {1e-4}


def test_a_trial_that_diverged_is_the_worst_and_another_failure_is_waited_for(load):
    study = load(fractions=[1.0])
    grid = plan(study)
    runs = known_runs(study, grid, {}).runs
    records = {run.run_id: record_of(run, score_of(run)) for run in runs}
    best = next(run for run in runs if run.tuning.values["optimizer.lr"] == BEST["vit"])
    records[best.run_id] = record_of(best, None, "FloatingPointError")
    known = known_runs(study, grid, records)
    (values,) = {
        tuple(r.tuning.values.values()) for r in reported(known) if r.encoder.label == "vit"
    }
    assert values != tuple(best.tuning.values.values())
    records[best.run_id] = record_of(best, None, "OutOfMemoryError")
    known = known_runs(study, grid, records)
    assert {run.encoder.label for run in reported(known)} == {"dark"}
    assert "--retry-failed" in known.following[0]
    assert not known.expected, "nothing follows from a choice that cannot be made"
    records |= {run.run_id: record_of(run, None, "FloatingPointError") for run in runs}
    assert not reported(known_runs(study, grid, records))


def test_untuned_runs_are_those_of_the_plain_study(load):
    tuned, _ = complete(load(tune={"settings": GRID, "untuned": True}))
    plain = plan(load(tune=None))
    assert [run for run in reported(tuned) if run.tuning is None] == plain
    without, _ = complete(load())
    assert [run for run in reported(tuned) if run.tuning is not None] == reported(without)


def test_halving_gives_most_trials_few_steps(load):
    known, rounds = complete(load(tune=HALVED, fractions=[1.0]))
    assert rounds == 4
    steps = [run.recipe.steps for run in trials_of(known) if run.encoder.label == "vit"]
    assert sorted(steps) == [10] * 9 + [30] * 3 + [90]
    for run in reported(known):
        assert run.recipe.steps == 90
        tried = [t for t in trials_of(known) if t.encoder == run.encoder and t.recipe.steps == 10]
        assert run.tuning.values == max(tried, key=score_of).tuning.values


def test_tpe_goes_on_from_records_alone_and_finds_the_best_rate(load):
    tune = {"settings": LOG, "search": "tpe", "trials": 15}
    pytest.importorskip("optuna")
    study = load(tune=tune, fractions=[1.0], seeds=[0])
    known, rounds = complete(study)
    assert rounds == 12, "5 trials at once, then 10 one by one, then the run"
    tpe._asked.cache_clear()
    assert known_runs(study, plan(study), records_of(known)) == known
    for encoder, best in BEST.items():
        rates = [r.recipe.optimizer.lr for r in trials_of(known) if r.encoder.label == encoder]
        assert len(set(rates)) == 15
        (run,) = [run for run in reported(known) if run.encoder.label == encoder]
        assert abs(math.log10(run.recipe.optimizer.lr / best)) < 0.5
    first = {r.encoder.label: r.recipe.optimizer.lr for r in trials_of(known)[:2]}
    assert first["vit"] == first["dark"], "the first trials are the same for all"


def test_tpe_finds_a_trial_that_is_not_like_an_earlier_one():
    pytest.importorskip("optuna")
    tune = TuneSpec(settings=GRID, search="tpe", trials=6)
    trials = listed_trials(tune)
    while len(trials) < 6:
        trials.append(next_trial(tune, trials, [0.5] * len(trials)))
    assert len({repr(trial) for trial in trials}) == 6


@pytest.mark.parametrize("search", ["random", "sobol"])
def test_draws_lie_in_their_ranges_and_follow_from_the_seed(search):
    settings = {
        "optimizer.lr": {"from": 1e-5, "to": 1e-1, "log": True},
        "optimizer.weight_decay": {"from": 0.0, "to": 0.1},
        "schedule.decay": ["poly", "cosine"],
    }
    tune = TuneSpec(settings=settings, search=search, trials=32)
    trials = listed_trials(tune)
    assert listed_trials(tune) == trials
    assert listed_trials(tune.model_copy(update={"seed": 1})) != trials
    assert listed_trials(tune.model_copy(update={"trials": 8})) == trials[:8], "more trials extend"
    rates = [trial["optimizer.lr"] for trial in trials]
    assert 12 <= sum(rate < 1e-3 for rate in rates) <= 20, "half of them below the geometric mean"
    assert all(float(f"{rate:.3g}") == rate for rate in rates)
    assert {trial["schedule.decay"] for trial in trials} == {"poly", "cosine"}


def test_numbers_that_yaml_reads_as_texts_are_numbers():
    tune = TuneSpec(settings={"optimizer.lr": ["1e-4", 1e-3], "schedule.decay": ["poly", "cosine"]})
    assert tune.settings == {"optimizer.lr": [1e-4, 1e-3], "schedule.decay": ["poly", "cosine"]}


def test_a_grid_of_fewer_trials_is_drawn_once_for_all():
    tune = TuneSpec(settings=GRID, trials=4)
    trials = listed_trials(tune)
    assert len({repr(trial) for trial in trials}) == 4
    assert all(trial in listed_trials(TuneSpec(settings=GRID)) for trial in trials)


def test_a_range_ends_where_it_says():
    values = Range.model_validate({"from": 1.2345e-4, "to": 1.2345e-2, "log": True})
    assert (values.at(0), values.at(1)) == (1.2345e-4, 1.23e-2)
    assert values.at(0.5) == 1.23e-3
    assert values.share(values.at(0.5)) == pytest.approx(0.5, abs=0.01)


def test_a_saved_study_tunes_in_the_same_way(load):
    study = load(tune={"settings": LOG, "search": "sobol", "trials": 4})
    content = yaml.safe_load(yaml.safe_dump(resolve_study(study).model_dump(mode="json")))
    again = StudySpec.model_validate(content)
    assert again.tune == study.tune
    assert known_runs(again, plan(again), {}) == known_runs(study, plan(study), {})


def test_a_head_that_does_not_learn_by_steps_stays_as_it_is(load):
    study = load(segmenters=["few_shot"])
    assert known_runs(study, plan(study), {}) == Known(plan(study))


BAD = {
    "unknown": ({"settings": {"optimizer.lrr": [1, 2]}}, "Did you mean 'optimizer.lr'"),
    "unfair": ({"settings": {"augmentation.crop": [1, 2]}}, "augmentation.crop cannot be tuned"),
    "steps": ({"settings": {"steps": [1, 2]}}, "steps cannot be tuned"),
    "optimiser": (
        {"settings": {"optimizer.name": ["adamw", "sgd"]}},
        "optimizer.name cannot be tuned, because",
    ),
    "no number at all": (
        {"settings": {"optimizer.lr": ["fast", "slow"]}},
        "tuned.yaml: 'tune.settings': optimizer.lr fast: input should be a valid number",
    ),
    "too many": ({"settings": GRID, "trials": 7}, "more than the 6 combinations"),
    "per": ({"settings": GRID, "per": ["seed"]}, "tune.per.0"),
    "one value": ({"settings": {"optimizer.lr": [1]}}, "two different values"),
    "twice": ({"settings": {"optimizer.lr": [1, 1]}}, "two different values"),
    "backwards": ({"settings": {"optimizer.lr": {"from": 2, "to": 1}}}, "from 2"),
    "log of 0": ({"settings": {"optimizer.lr": {"from": 0, "to": 1, "log": True}}}, "above 0"),
    "grid of a range": ({"settings": LOG}, "needs lists"),
    "no number": ({"settings": LOG, "search": "random"}, "needs trials"),
    "halving": ({"settings": GRID, "halving": {"factor": 3, "rounds": 3}}, "needs 9 trials"),
    "both": ({"settings": LOG, "search": "tpe", "trials": 9, "halving": {}}, "not with tpe"),
    "impossible": ({"settings": {"optimizer.lr": [-1, 1]}}, "lr -1"),
    "narrow": (
        {"settings": {"optimizer.lr": {"from": 1, "to": 1.01}}, "search": "random", "trials": 9},
        "Widen the ranges",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name, load):
    tune, message = BAD[name]

    def start():
        study = load(tune=tune)
        known_runs(study, plan(study), {})

    with pytest.raises(InputError) as caught:
        start()
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_seeds_of_trials_are_not_those_of_the_study(load):
    study = load(seeds=[0, FIRST_SEED])
    with pytest.raises(InputError, match="seeds has 10000"):
        known_runs(study, plan(study), {})
