"""A study whose recipe ranks two encoders wrongly, because one needs ten times the learning rate,
is ranked rightly by tuning, and its report says that the recipe would have misled."""

import json

import pytest
import toy_colors
import yaml

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.findings.tuning.trials import tuning
from encoder_ablations.experiments.reporting.sentences.tuning import said_of_tuning

OUT = ["--device", "cpu", "--output", "out"]
RATE = 0.005


# sixteen trainings of 30 steps, which take 20 s on a busy machine
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of the finished study, and what ``ablate run`` returned."""
    folder = tmp_path_factory.mktemp("tuned")
    dataset = toy_colors.make_squares(folder / "squares").model_dump(mode="json")
    study = {
        "name": "misled",
        "encoders": [
            {"name": "toy_gated:gated", "label": "gated", "neck": "none"},
            {"name": "toy_gated:steady", "label": "steady", "neck": "none"},
        ],
        "segmenters": ["linear"],
        "datasets": [dataset],
        "seeds": [0, 1, 2],
        "tune": {"settings": {"optimizer.lr": [RATE, 10 * RATE]}, "untuned": True},
        "recipe": {
            "steps": 30,
            "batch_size": 2,
            "evaluate_every": 30,
            "augmentation": {"crop": [32, 48], "scale": [1.0, 1.0], "flip": 0.0},
            "optimizer": {
                "lr": RATE,
                "encoder_lr_multiplier": 1.0,
                "weight_decay": 0.0,
                "clip_norm": None,
            },
        },
    }
    (folder / "misled.yaml").write_text(yaml.safe_dump(study))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = main(["run", "misled.yaml", *OUT])
    return folder / "out", code


def leaders(study):
    """Title of each setting -> its leader."""
    return {each.title: ranking(each, 1.0).leader.encoder for each in study.settings}


def test_the_fixed_recipe_is_wrong_and_tuning_is_right(finished):
    folder, code = finished
    assert code == 0
    study = collect(folder)
    assert len(study.trials) == 4
    assert len(study.records) == 12
    (fixed,) = [name for title, name in leaders(study).items() if "own recipe" in title]
    (tuned,) = [name for title, name in leaders(study).items() if "(tuned)" in title]
    assert (fixed, tuned) == ("steady", "gated")


def test_the_report_says_that_the_fixed_recipe_would_have_misled(finished):
    folder, _ = finished
    page = (folder / "report.html").read_text()
    assert "would have misled: with it, steady scores" in page
    # not the values of the encoder that happens to be the first one
    assert f"learning rate {10 * RATE}" not in page
    assert "Values of optimizer.lr differ by encoder: each has the best of 2 trials" in page
    study = collect(folder)
    (place,) = tuning(study.groups, study.trials)
    said = " ".join(said_of_tuning(place))
    assert "optimizer.lr, 0.05, is at the edge, the largest that was tried" in said
    assert f"steady with {RATE} and gated with {10 * RATE}" in said
    assert "2 trials of optimizer.lr" in said
    assert "On the validation images, gated leads" in said
    assert (folder / "figures" / "tuning-1.png").exists()


def test_trials_see_no_test_image_and_enter_no_comparison(finished):
    folder, _ = finished
    records = [json.loads(path.read_text()) for path in folder.glob("runs/*/record.json")]
    trials = [
        record for record in records if record["spec"].get("tuning", {}).get("role") == "trial"
    ]
    assert len(trials) == 4
    assert {record["data"]["report_split"] for record in trials} == {"val"}
    for path in [folder / "runs.csv", *(folder / "tables").glob("*.csv")]:
        text = path.read_text()
        assert not any(record["run_id"] in text for record in trials), path.name
        assert ",10000" not in text, f"{path.name} holds a seed of trials"
    counted = (folder / "tables" / "tuning_trials.csv").read_text()
    assert len(counted.splitlines()) == 1 + 4


def test_a_second_start_finds_nothing_to_do(finished, monkeypatch, capsys):
    folder, _ = finished
    monkeypatch.chdir(folder.parent)
    assert main(["status", "out"]) == 0
    assert "16 runs: 16 finished" in capsys.readouterr().out
    assert main(["run", "misled.yaml", *OUT, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "nothing to do" in said
    assert "trial: lr 0.05" in said
    assert "tuned: lr 0.05" in said
