"""The counts of a study's display."""

import pytest

from encoder_ablations.experiments.runs.execution import EVALUATING
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tuning.spec import FIRST_SEED
from encoder_ablations.experiments.workers.display import Display, Rounds
from encoder_ablations.experiments.workers.outcome import Outcome


@pytest.fixture
def runs(terrain, tmp_path):
    """Three runs of ten steps."""
    content = {
        "encoder": {"name": "test_resnet", "weights": "random"},
        "segmenter": {"name": "linear"},
        "dataset": terrain,
        "recipe": {"steps": 10},
    }
    specs = [RunSpec(**content, seed=seed) for seed in range(3)]
    return [PlannedRun(spec, tmp_path / spec.run_id, None) for spec in specs]


def test_runs_of_other_processes_are_not_counted(runs):
    """A study of three runs, the first of which another process computes, is two runs here."""
    first, second, _ = [run.spec.run_id for run in runs]
    with Display(runs) as display:
        display.begin(runs[0])
        assert display.bar.desc.startswith("run 1/3 ")
        display.done(Outcome(first, "elsewhere"))
        display.begin(runs[1])
        assert display.bar.desc.startswith("run 1/2 ")
        assert (display.bar.n, display.bar.total) == (0, 20)
        display.advance(runs[1], 4, "loss 0.5")
        display.done(Outcome(second, "finished"))
        assert (display.bar.n, display.bar.total) == (10, 20)
        display.look([])
        assert display.bar.desc.startswith("1 of 2 done")


def test_a_run_that_learns_in_no_steps_moves_nothing(runs, terrain, tmp_path):
    """Its recipe has ten steps, which nobody takes; the bar must not run ahead of the others."""
    spec = RunSpec(
        encoder={"name": "test_resnet", "weights": "random"},
        segmenter={"name": "few_shot"},
        dataset=terrain,
        recipe={"steps": 10},
    )
    unlearned = PlannedRun(spec, tmp_path / spec.run_id, None)
    with Display([*runs, unlearned]) as display:
        display.advance(unlearned, 0, EVALUATING)
        assert (display.bar.n, display.bar.total) == (0, 30)
        display.done(Outcome(spec.run_id, "finished"))
        assert (display.bar.n, display.bar.total) == (0, 30)


def test_runs_of_other_rounds_are_numbered_through(runs, tmp_path):
    """The second run comes after the first one's round, and the third follows from its result."""
    first, second, third = runs
    with Display([second], rounds=Rounds([first], [third])) as display:
        assert (display.bar.n, display.bar.total) == (10, 30)
        display.begin(second)
        assert display.bar.desc.startswith("run 2/3 test_resnet-random 100% seed 1")
        display.done(Outcome(second.spec.run_id, "finished"))
        assert (display.bar.n, display.bar.total) == (20, 30)
        display.look([])
        assert display.bar.desc.startswith("2 of 3 done")


def test_a_trial_is_shown_by_its_values(runs, tmp_path):
    values = {"optimizer.lr": 0.001, "optimizer.encoder_lr_multiplier": 0.1}
    role = {"role": "trial", "values": values}
    trial = RunSpec(**{**dict(runs[0].spec), "seed": FIRST_SEED, "tuning": role})
    with Display([PlannedRun(trial, tmp_path, None)]) as display:
        display.begin(PlannedRun(trial, tmp_path, None))
        assert "100% trial: lr 0.001, encoder_lr_multiplier 0.1" in display.bar.desc
        assert "seed" not in display.bar.desc
