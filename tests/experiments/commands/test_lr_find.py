"""``ablate lr-find`` writes a table and a figure, and changes no run."""

import csv
import re
from pathlib import Path

import pytest
from PIL import Image

from encoder_ablations.experiments.cli import main

ENCODER = {"name": "test_resnet", "weights": "random", "channels": 32}


def test_the_command_writes_table_and_figure_and_leaves_the_study_alone(studies, capsys):
    recipe = {"steps": 4, "batch_size": 2, "augmentation": {"crop": [64, 64]}}
    encoders = [ENCODER | {"label": "one"}, ENCODER | {"label": "two", "freeze": "body"}]
    studies.write(encoders=encoders, recipe=recipe)
    command = ["lr-find", "tiny.yaml", "--device", "cpu", "--steps", "20", "--output", "found"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "suggestion" in printed
    text = Path("found/lr_find.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["encoder"] for row in rows} == {"one", "two"}
    assert float(rows[0]["lr"]) == pytest.approx(1e-7)
    assert Image.open("found/lr_find.png").size[0] > 500
    assert sorted(path.name for path in Path().iterdir()) == ["found", "tiny.yaml"]
    assert main([*command, "--encoder", "two"]) == 0
    again = Path("found/lr_find.csv").read_text().splitlines()[1:]
    assert again == [line for line in text.splitlines() if line.startswith("two")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--encoder", "oen"], "unknown encoder of the study 'oen'.*'one'"),
        (["--segmenter", "mask2former"], "unknown segmenter of the study"),
        (["--steps", "3"], "--steps 3"),
        (["--low", "1", "--high", "0.1"], "must grow"),
    ],
    ids=str,
)
def test_bad_options(studies, capsys, arguments, words):
    studies.write(encoders=[ENCODER | {"label": "one"}])
    assert main(["lr-find", "tiny.yaml", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error), error
    assert not Path("outputs").exists()
