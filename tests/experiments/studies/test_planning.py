"""What a study takes: the arithmetic of plans, budgets and their errors."""

from types import SimpleNamespace

import pytest

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.stats.power import difference_shown
from encoder_ablations.experiments.studies.kinds import kind_key
from encoder_ablations.experiments.studies.planning.budget import (
    proposal_lines,
    proposals,
    read_budget,
    refuse_small,
    smallest_form,
    total,
)
from encoder_ablations.experiments.studies.planning.description import (
    plan_lines,
    summary_lines,
)
from encoder_ablations.experiments.studies.planning.estimates import known_of, plan_error
from encoder_ablations.experiments.studies.planning.largest_batch import bisect
from encoder_ablations.experiments.studies.planning.measured import (
    Measured,
    SavedPlan,
    read_plan,
    write_plan,
)
from encoder_ablations.segmenters.heads.few_shot import FewShotSpec
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import duration

MEASURED = Measured(
    step=2.0,
    predict=0.5,
    read=0.1,
    start=3.0,
    cost=4.0,
    save=1.0,
    memory=10**9,
    decoded=10**6,
    best=4 * 10**6,
    last=12 * 10**6,
    train=100,
    val=20,
    report=40,
)


def make(seed=0, fraction=1.0, encoder="a", head=None, steps=100, **recipe):
    return RunSpec(
        encoder=EncoderSpec(name=encoder),
        segmenter=head or LinearSpec(name="linear"),
        dataset=DatasetSpec(
            name="d", root="d", classes=("x",), splits={"train": "train", "val": "val"}
        ),
        seed=seed,
        fraction=fraction,
        recipe=Recipe(steps=steps, batch_size=2, evaluate_every=40, **recipe),
    )


def planned(spec, seconds=None, train_seconds=1.0):
    record = None
    if seconds is not None:
        record = SimpleNamespace(
            run_id=spec.run_id,
            status="finished",
            started="2026-01-01T00:00:00+00:00",
            finished=f"2026-01-01T00:{seconds // 60:02d}:{seconds % 60:02d}+00:00",
            cost=SimpleNamespace(train_seconds=train_seconds),
        )
    return PlannedRun(spec, SimpleNamespace(__truediv__=None), record)


def plan_of(*specs, **changes):
    kinds = {kind_key(spec): MEASURED for spec in specs}
    return SavedPlan(device="a CPU", on_gpu=False, kinds=kinds, **changes)


def test_a_run_takes_steps_and_evaluations_and_reading_and_the_ends():
    training, reading = 100 * 2.0, 100 * 0.1
    validation = 3 * (20 * 0.5 + 1.0) + 20 * 0.1
    report = 40 * (0.5 + 0.1)
    expected = 3.0 + training + reading + validation + report + 4.0
    assert MEASURED.seconds(make()) == pytest.approx(expected)
    assert MEASURED.seconds(make(fraction=0.1)) == pytest.approx(expected - 90 * 0.1)
    few = MEASURED.model_copy(update={"step": 0.0, "fit": 0.2})
    head = FewShotSpec(name="few_shot")
    fitted = 3.0 + 10 * (0.2 + 0.1) + report + 4.0
    assert few.seconds(make(fraction=0.1, head=head)) == pytest.approx(fitted)


def test_images_in_memory_count_on_the_cpu_alone():
    assert MEASURED.peak_memory(make(), on_gpu=True) == 10**9
    assert MEASURED.peak_memory(make(), on_gpu=False) == 10**9 + (100 + 20) * 10**6
    assert MEASURED.peak_memory(make(fraction=0.5), on_gpu=False) == 10**9 + (50 + 20) * 10**6


def test_finished_runs_say_more_than_the_measurement():
    runs = [planned(make(0), 400), planned(make(1), 420), planned(make(2), 900), planned(make(3))]
    known = known_of(runs, plan_of(make()))
    assert known.seconds(make(4)) == 420
    assert known.seconds(make(4, fraction=0.5)) == pytest.approx(MEASURED.seconds(make()) - 5)
    assert known.seconds(make(4, encoder="b")) is None
    assert known_of(runs, None).seconds(make(4)) == 420


def test_the_error_of_a_plan_counts_what_it_foresaw():
    specs = [make(seed) for seed in range(4)]
    plan = plan_of(specs[0], seconds={spec.run_id: 120.0 for spec in specs[:3]})
    runs = [planned(specs[0], 100), planned(specs[1], 140, train_seconds=300.0)]
    records = [run.record for run in [*runs, planned(specs[3], 500)]]
    found = plan_error(records, plan)
    assert (found.runs, found.planned, found.took) == (1, 120.0, 100.0), "the resumed one is out"
    assert found.error == pytest.approx(0.2)
    assert plan_error(records, None) is None
    assert plan_error([], plan) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("90min", 5400), ("1h30m", 5400), ("0.5 d", 43200)]
)
def test_budgets(text, seconds):
    assert read_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "eight hours", "0h", "8h and more", "-3h"])
def test_what_is_no_budget(text):
    with pytest.raises(InputError, match="--budget"):
        read_budget(text)


def grid(fractions, seeds):
    return [make(seed, fraction) for seed in seeds for fraction in fractions]


def test_proposals_fit_and_say_what_is_lost():
    specs = grid([0.1, 0.5, 1.0], [0, 1, 2, 3, 4])
    known = known_of([], plan_of(specs[0]))
    budget = 0.7 * total(specs, known)
    seeds, fractions, steps = proposals(specs, known, budget, 3, grid)
    assert seeds.change == "'seeds=[0,1,2]'"
    factor = difference_shown(1, 3, 3) / difference_shown(1, 5, 3)
    assert f"{factor:.1f} times" in seeds.lost
    assert fractions.change == "'fractions=[0.1,1]'"
    assert "50 %" in fractions.lost
    assert steps.change == "recipe.steps=60"
    for each in (seeds, fractions, steps):
        assert 0.5 * budget < each.seconds <= budget
    assert "no intervals" in proposals(specs, known, 0.4 * total(specs, known), 3, grid)[0].lost
    said = "\n".join(proposal_lines(budget, total(specs, known), [seeds]))
    assert seeds.change in said
    assert "everything fits" in proposal_lines(1e9, total(specs, known), [])[0]


def test_where_no_one_change_is_enough_all_are_made():
    specs = grid([0.1, 1.0], [0, 1, 2, 3, 4])
    known = known_of([], plan_of(specs[0]))
    budget = 3.2 * MEASURED.seconds(make(steps=30))
    (found,) = proposals(specs, known, budget, 3, grid)
    assert "'seeds=[0,1,2]' 'fractions=[1]' recipe.steps=" in found.change
    assert found.seconds <= budget
    assert proposals(specs, known, 1.0, 3, grid) == []
    smallest = smallest_form(specs, known, grid)
    assert smallest.seconds == pytest.approx(3 * MEASURED.seconds(make(steps=5)))
    (line,) = proposal_lines(1.0, 1000.0, [], smallest)
    assert f"recipe.steps=5, takes about {duration(smallest.seconds)}." in line


def test_the_share_of_the_steps_is_that_of_the_steps_that_are_left():
    specs = [make(steps=15)]
    known = known_of([], plan_of(specs[0]))
    budget = MEASURED.seconds(make(steps=4))
    (found,) = proposals(specs, known, budget, 1, grid)
    assert "after 4 of 15 steps (27 %)" in found.lost


def test_a_budget_smaller_than_one_run_is_refused():
    known = known_of([], plan_of(make()))
    refuse_small(MEASURED.seconds(make()), [make()], known)
    with pytest.raises(InputError, match="less than one run"):
        refuse_small(MEASURED.seconds(make()) - 1, [make()], known)


@pytest.mark.parametrize(
    ("largest", "step", "found"),
    [(1, 1, 1), (0, 1, 0), (37, 1, 37), (37, 4, 36), (64, 1, 64), (5000, 1, 1000), (5000, 3, 999)],
)
def test_the_largest_batch_is_found_by_few_trials(largest, step, found):
    tried = []

    def fits(batch):
        tried.append(batch)
        return batch <= largest

    assert bisect(fits, step, most=1000) == found
    assert len(tried) <= 20
    assert len(set(tried)) == len(tried)


def test_the_text_names_hours_memory_disk_downloads_and_what_is_unknown(tmp_path):
    runs = [planned(make(0), 420)]
    runs += [
        PlannedRun(make(seed, encoder=name), tmp_path, None) for seed in (1, 2) for name in "ab"
    ]
    plan = plan_of(make(), downloads={"dinov2_b14": 346_000_000}, seconds={make(0).run_id: 400.0})
    text = "\n".join(plan_lines(runs, known_of(runs, plan)))
    assert "about 14 min for 4 runs one after the other, and unknown for 2 runs" in text
    assert "1.12 GB of a process" in text
    assert "8.00 MB of checkpoints, and 12.0 MB while a run goes on" in text
    assert "dinov2_b14 (about 346 MB)" in text
    assert "an error of -5%" in text
    assert summary_lines(runs, known_of(runs, None)) == []


def test_a_damaged_plan_is_named(tmp_path):
    assert read_plan(tmp_path) is None
    plan = plan_of(make())
    assert read_plan(write_plan(plan, tmp_path).parent) == plan
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(InputError, match=r"plan\.json"):
        read_plan(tmp_path)
