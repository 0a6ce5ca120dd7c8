"""Studies whose later runs depend on the results of earlier ones: computed round by round."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.commands import run
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.sentences.cautions import warnings
from encoder_ablations.experiments.studies import rounds
from encoder_ablations.experiments.studies.known import Known
from encoder_ablations.experiments.studies.rounds import Stage, locate_known
from encoder_ablations.experiments.studies.study import load_study_spec, plan

OUT = ["--device", "cpu", "--output", "out"]
LAST = 2


def one_seed_more(_study, known, records):
    """Ask for the next seed when a run has finished, up to the seed 2."""
    runs = list(known.runs)
    while runs[-1].run_id in records and runs[-1].seed < LAST:
        runs.append(runs[-1].model_copy(update={"seed": runs[-1].seed + 1}))
    if runs[-1].run_id in records:
        return Known(runs, known.following)
    return Known(runs, (*known.following, "More seeds may follow."))


@pytest.fixture
def growing(studies, monkeypatch):
    """The YAML of a study of one run, from whose result two more follow one by one; no report."""
    monkeypatch.setattr(run, "_write_report", lambda *_: [])
    monkeypatch.setattr(rounds, "STAGES", (Stage("seeds", lambda _: True, one_seed_more),))
    return studies.write(
        steps=2, encoders=[{"name": "test_resnet", "weights": "random", "channels": 32}]
    )


def seeds():
    found = Path("out").glob("runs/*/record.json")
    return sorted(path.parent.name.split("seed")[1][0] for path in found)


def test_runs_that_follow_from_results_are_computed_in_one_call(growing, capsys):
    assert main(["run", growing, "--dry-run", *OUT]) == 0
    assert "More seeds may follow." in capsys.readouterr().out
    assert main(["run", growing, *OUT]) == 0
    assert seeds() == ["0", "1", "2"]
    told = capsys.readouterr()
    assert told.out.count("1 run follows") == LAST
    assert "run 3/3 " in told.err, "runs of all rounds are numbered through"
    known = locate_known(load_study_spec(growing), Path("out"))
    assert not known.following, "nothing more follows"
    check_that_it_goes_on_between_rounds(growing, capsys)


def check_that_it_goes_on_between_rounds(growing, capsys):
    study = load_study_spec(growing)
    wanted = [run.spec for run in locate_known(study, Path("out")).runs]
    for seed in (1, 2):
        shutil.rmtree(next(Path("out/runs").glob(f"*seed{seed}*")))
    assert main(["status", growing, "--output", "out"]) == 0
    said = capsys.readouterr().out
    assert "1 run: 1 finished" not in said
    assert "2 runs: 1 finished, 1 not begun" in said
    assert "More seeds may follow." in said
    kept = next(Path("out/runs").glob("*seed0*/record.json")).stat().st_mtime_ns
    assert main(["run", growing, *OUT]) == 0
    assert [run.spec for run in locate_known(study, Path("out")).runs] == wanted
    assert kept == next(Path("out/runs").glob("*seed0*/record.json")).stat().st_mtime_ns


def test_the_page_says_that_more_may_follow(study):
    found = replace(collect(study), following=("More seeds may follow.",))
    assert warnings(found)[-1] == "More seeds may follow."


def test_what_fails_is_not_tried_again_in_the_same_call(growing, monkeypatch, capsys):
    from encoder_ablations.engine.training.loop import Trainer

    tried = []

    def fail(*_):
        tried.append(1)
        raise RuntimeError("planted")

    monkeypatch.setattr(Trainer, "_step", fail)
    assert main(["run", growing, *OUT]) == 1
    # the stage of this test asks for a next seed after failed runs, too
    assert len(tried) == LAST + 1
    assert main(["run", growing, "--retry-failed", *OUT]) == 1
    assert len(tried) == 2 * (LAST + 1)


def test_a_plain_study_is_known_from_the_start(studies):
    study = load_study_spec(studies.write())
    located = locate_known(study, Path("out"))
    assert [run.spec for run in located.runs] == plan(study)
    assert not located.following
