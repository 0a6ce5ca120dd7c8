"""``ablate evaluate`` with windows, views and ensembles: the path of ``ablate predict``."""

import json

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.record import load_record


def run(*arguments):
    return main(["evaluate", *map(str, arguments), "--device", "cpu"])


@pytest.fixture
def trained(study):
    return sorted(study.glob("runs/*seed0*"))[0]


def test_a_window_over_the_whole_image_scores_as_the_run_did(trained, tmp_path, capsys):
    out = tmp_path / "scores.json"
    assert run(trained, "--window", 64, "--overlap", 0, "--json", out) == 0
    found, record = json.loads(out.read_text()), load_record(trained)
    assert found["metrics"]["miou"] == pytest.approx(record.metrics.miou, abs=1e-3)
    assert found["plain_miou"] == record.metrics.miou
    assert "gain" in capsys.readouterr().out
    assert sum(map(sum, found["confusion_matrix"])) == sum(map(sum, record.confusion_matrix))


def test_each_setting_has_a_record_of_its_own(trained, capsys):
    before = len(list(trained.glob("inference-*.json")))
    for options in (["--tta", "flips=horizontal"], ["--tta", "turns"], ["--tta", "turns"]):
        assert run(trained, *options) == 0
    assert len(list(trained.glob("inference-*.json"))) == before + 2
    # the run itself is as it was
    assert load_record(trained).status == "finished"


def test_an_ensemble_is_compared_with_the_mean_of_its_members(study, tmp_path, capsys):
    out = tmp_path / "scores.json"
    assert run(study, "--runs", "*", "--weighting", "validation", "--json", out) == 0
    found = json.loads(out.read_text())
    own = [load_record(path).metrics.miou for path in sorted(study.glob("runs/*"))]
    assert found["plain_miou"] == pytest.approx(sum(own) / 2)
    assert found["weighting"] == "validation"
    assert len(found["run_ids"]) == 2


def test_another_split_has_no_plain_score_to_compare_with(trained, tmp_path, capsys):
    assert run(trained, "--split", "val", "--tta", "turns", "--json", tmp_path / "s.json") == 0
    assert json.loads((tmp_path / "s.json").read_text())["plain_miou"] is None
    assert "gain" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--split", "nonsense", "--tta", "turns"], "nonsense"),
        (["--dataset", "demo", "--tta", "turns"], "--dataset"),
        (["--runs", "x"], "--runs"),
    ],
)
def test_options_that_do_not_fit_are_one_line(trained, capsys, options, said):
    assert run(trained, *options) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
