"""``ablate plan`` times real steps, trains no run, and says how many seeds show a difference."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.studies.planning import downloads, measurement, timing

ENCODER = {"name": "test_resnet", "weights": "random", "channels": 32}
RECIPE = {"steps": 400, "batch_size": 2, "evaluate_every": 40, "augmentation": {"crop": [64, 64]}}
PLAN = ["plan", "tiny.yaml", "--device", "cpu", "--steps", "2", "--output", "out"]


@pytest.fixture
def tiny(studies):
    def write(**changes):
        encoders = [ENCODER | {"label": "one"}, ENCODER | {"label": "two", "freeze": "body"}]
        return studies.write(**{"encoders": encoders, "recipe": RECIPE, "seeds": [0, 1]} | changes)

    write()
    return write


def test_the_plan_of_a_study_is_written_compared_and_used(tiny, capsys):
    assert main(PLAN) == 0
    printed = capsys.readouterr().out
    for word in ("one", "two", "time: about", "memory: up to", "disk:", "downloads: none"):
        assert word in printed
    assert sorted(path.name for path in Path("out").iterdir()) == ["plan.json"]
    plan = json.loads(Path("out/plan.json").read_text())
    first, second = plan["kinds"].values()
    assert first["step"] > 0
    assert first["predict"] > 0
    assert first["body"] == 0 < second["body"], "a fixed body is kept once"
    assert len(plan["seconds"]) == 4
    check_that_a_dry_run_shows_the_same(capsys)
    check_that_a_budget_is_used_without_timing_again(capsys)


def check_that_a_dry_run_shows_the_same(capsys):
    assert main(["run", "tiny.yaml", "--dry-run", "--output", "out"]) == 0
    shown = capsys.readouterr().out
    assert "memory: up to" in shown
    assert "for 4 runs one after the other" in shown


def check_that_a_budget_is_used_without_timing_again(capsys):
    path = Path("out/plan.json")
    content = json.loads(path.read_text())
    for kind in content["kinds"].values():
        kind |= {"step": 1.0, "start": 0.0, "cost": 0.0, "predict": 0.0, "read": 0.0, "save": 0.0}
    path.write_text(json.dumps(content))
    assert main([*PLAN, "--budget", "20min"]) == 0
    printed = capsys.readouterr().out
    assert "about 27 min are needed" in printed
    assert "'seeds=[0]'" in printed
    assert "recipe.steps=300" in printed
    assert main([*PLAN, "--budget", "6min"]) == 2
    assert "less than one run" in capsys.readouterr().err


TUNE = {"settings": {"optimizer.lr": [1e-4, 1e-3, 1e-2]}, "trials": 2}


@pytest.mark.parametrize(("untuned", "runs"), [(False, 8), (True, 12)])
def test_trials_and_what_follows_from_them_are_planned(tiny, capsys, untuned, runs):
    """Two trials of each of two encoders, then both with two seeds each."""
    tiny(tune=TUNE | {"untuned": untuned})
    assert main(PLAN) == 0
    out = capsys.readouterr().out
    assert f"for {runs} runs (4 trials and {runs - 4} with the study's seeds) one after" in out
    assert len([line for line in out.splitlines() if "  2 trials  " in line]) == 2
    plan = json.loads(Path("out/plan.json").read_text())
    # the file names the runs that are known
    assert len(plan["seconds"]) == runs - 4
    for kind in plan["kinds"].values():
        nothing = dict.fromkeys(("start", "cost", "predict", "read", "save"), 0.0)
        kind |= nothing | {"step": 1.0, "best": 10**6, "body": 0}
    Path("out/plan.json").write_text(json.dumps(plan))
    assert main([*PLAN, "--budget", f"{runs * 400 - 1}s"]) == 0
    out = capsys.readouterr().out
    assert f"disk: {runs}.0" in out
    assert "recipe.steps=380" in out
    assert "'seeds=[0]'" in out
    assert main(["run", "tiny.yaml", "--dry-run", "--output", "out"]) == 0
    out = capsys.readouterr().out
    assert f"to do: {runs} runs, {runs * 400} steps" in out
    assert f"study tiny: {runs} runs: " in out
    assert "4 to follow from their results" in out


def test_what_cannot_be_timed_is_named(tiny, capsys):
    assert main([*PLAN, "fractions=[0.03]"]) == 2
    said = capsys.readouterr().err
    assert "measurement needs 2" in said
    assert len(said.splitlines()) == 1
    one = [ENCODER | {"label": "one"}]
    tiny(
        encoders=one,
        federation=[None, {"clients": 2, "partition": "iid", "rounds": 10}],
        fractions=[1.0],
    )
    assert main(PLAN) == 2
    told = capsys.readouterr()
    assert "several clients are not timed" in told.err
    assert "and unknown for 2 runs" in told.out


def test_weights_that_are_not_here_are_named_and_not_downloaded(tiny, capsys, monkeypatch):
    monkeypatch.setattr(downloads, "cached_weights", lambda name: None)
    tiny(encoders=[{"name": "test_resnet", "channels": 32}])
    assert main(PLAN) == 0
    assert "downloads: test_resnet" in capsys.readouterr().out


def test_the_largest_batch_of_a_gpu_is_found_by_training(tiny, monkeypatch):
    tried = []

    def fits(_spec, _execution, batch, _folder):
        tried.append(batch)
        return batch <= 12

    monkeypatch.setattr(measurement, "_fits", fits)
    monkeypatch.setattr(timing, "device_in_words", lambda _: ("a GPU", True))
    tiny(encoders=[ENCODER])
    assert main([*PLAN, "recipe.accumulation=2"]) == 0
    (kind,) = json.loads(Path("out/plan.json").read_text())["kinds"].values()
    assert kind["largest_batch"] == 12
    assert set(tried) <= set(range(2, 33, 2)), "batches that cannot be divided were tried"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--budget", "soon"], "--budget soon"),
        (["--steps", "0"], "--steps 0"),
        (["--power"], "--spread"),
        (["--power", "--spread", "0"], "--spread 0"),
        (["--device", "tpu"], "tpu"),
    ],
    ids=str,
)
def test_bad_options(tiny, capsys, arguments, word):
    assert main(["plan", "tiny.yaml", "--output", "out", *arguments]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert len(said.splitlines()) == 1
    assert not Path("out").exists()


def test_power_by_a_stated_spread(tiny, capsys):
    assert main(["plan", "tiny.yaml", "--power", "--spread", "0.8", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert "1 comparison\n" in printed
    rows = {line.split()[0]: line.split()[-1] for line in printed.splitlines() if line[:2] == "  "}
    assert rows["1"] == "8"
    assert Image.open("out/power.png").size[0] > 500
    table = list(csv.DictReader(Path("out/power.csv").read_text().splitlines()))
    (cell,) = [row for row in table if (row["points"], row["seeds"]) == ("1.0", "8")]
    assert 0.8 <= float(cell["power"]) < 0.9
