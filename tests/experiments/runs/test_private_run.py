"""A private run from the command line into its record, and what is refused of it."""

import json
from pathlib import Path

import pytest

from encoder_ablations.engine.privacy import PrivacySpec
from encoder_ablations.engine.training.private.accountant import Steps, epsilon_of
from encoder_ablations.engine.training.private.checks import large_delta
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.record import load_record

pytest.importorskip("opacus", reason="Opacus (the extra privacy) is not installed")

COMMAND = ["run", "tiny.yaml", "--device", "cpu", "--output", "out"]
ENCODER = {"name": "test_vit", "weights": "random", "channels": 32, "freeze": "body"}
LINEAR = {"name": "linear", "norm": "group"}
RECIPE = {
    "steps": 4,
    "batch_size": 4,
    "evaluate_every": 2,
    "augmentation": {"crop": [64, 64]},
    "privacy": {"noise": 1.5, "accountant": "gdp"},
}


@pytest.fixture
def write(studies):
    def write(**recipe):
        return studies.write(encoders=[ENCODER], segmenters=[LINEAR], recipe=RECIPE | recipe)

    return write


def test_the_record_says_what_was_spent_and_what_is_protected(write, capsys):
    write()
    assert main(COMMAND) == 0
    (path,) = Path("out").glob("**/record.json")
    record = load_record(path.parent)
    curve = [epsilon_of(Steps(1.5, 4 / 24, count), 1e-5, "gdp") for count in (2, 4)]
    assert record.curves.epsilon == curve
    found = record.privacy
    assert (found.epsilon, found.steps, found.noise, found.clip) == (curve[1], 4, 1.5, 1.0)
    assert "24 training images" in found.protected
    assert any("validation" in each for each in found.not_protected)
    text = " ".join(record.disclosures)
    assert f"epsilon {curve[1]:.3g}" in text
    assert "seed" in text
    assert "gdp approximates" in text


def test_a_run_that_is_not_private_says_nothing_of_it(studies):
    studies.write(encoders=[ENCODER], recipe=RECIPE | {"privacy": None, "steps": 2})
    assert main(COMMAND) == 0
    (path,) = Path("out").glob("**/record.json")
    content = json.loads(path.read_text())
    assert "privacy" not in content
    assert "epsilon" not in content["curves"]
    assert "privacy" not in content["spec"]["recipe"]


@pytest.mark.parametrize(
    ("recipe", "head", "words"),
    [
        ({"batch_size": 25}, LINEAR, "batch_size 25 is larger than the data"),
        ({}, {"name": "linear"}, "BatchNorm head.norm"),
        ({"privacy": {"noise": 1.5, "epsilon": 3, "accountant": "gdp"}}, LINEAR, "gives epsilon"),
        (
            {},
            LINEAR | {"loss": {"cross_entropy": {"weight": 1, "class_weights": "balanced"}}},
            "class_weights balanced",
        ),
    ],
    ids=["batch", "norm", "both", "balanced"],
)
def test_what_is_refused_before_the_start(studies, capsys, recipe, head, words):
    studies.write(encoders=[ENCODER], segmenters=[head], recipe=RECIPE | recipe)
    assert main(COMMAND) == 2
    assert words in capsys.readouterr().err
    assert not list(Path("out").glob("**/record.json"))


def test_a_delta_that_is_too_large_is_warned_of(write, capsys):
    write(privacy={"noise": 1.5, "accountant": "gdp", "delta": 0.05})
    assert main(COMMAND) == 0
    assert "delta 0.05 is not below 1 / 24" in capsys.readouterr().err


def test_when_delta_is_too_large():
    assert large_delta(PrivacySpec(noise=1, delta=0.009), 100) is None
    assert "0.01 is not below 1 / 100" in large_delta(PrivacySpec(noise=1, delta=0.01), 100)
    assert large_delta(None, 100) is None
