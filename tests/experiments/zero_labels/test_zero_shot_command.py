"""``ablate zero-shot``: the outputs of ``ablate predict`` from names of classes alone."""

import numpy as np
import pytest
from PIL import Image
from toy_colors import HEAD

from encoder_ablations.experiments.cli import main


@pytest.fixture
def zero_shot(squares, tmp_path, monkeypatch):
    """zero_shot(*arguments) -> the exit code; the classes' file says blue first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.yaml").write_text("blue: [sky]\ngreen: [green, grass]\nred: [rose]\n")
    (tmp_path / "eye.yaml").write_text("{name: 'toy_colors:colors', label: eye}")

    def run(*arguments):
        image = f"{squares.root}/images/test/test_0.png"
        model = ["--encoder", "eye.yaml", "--segmenter", HEAD, "--classes", "words.yaml"]
        return main(["zero-shot", image, *model, "--device", "cpu", *arguments])

    return run


def test_a_planted_image_is_segmented(zero_shot, squares, tmp_path):
    assert zero_shot("-o", "out", "--method", "nearest", "--probabilities") == 0
    predicted = np.asarray(Image.open(tmp_path / "out/masks/test_0.png"))
    truth = np.asarray(Image.open(f"{squares.root}/masks/test/test_0.png"))
    # red, green, blue in the dataset
    assert (predicted[:, :-1] == 2 - truth[:, :-1]).all()
    assert (tmp_path / "out/prediction.json").exists()
    assert list((tmp_path / "out").glob("*.html"))


def test_invented_names_are_warned_of(zero_shot, tmp_path, capsys):
    (tmp_path / "made.yaml").write_text("[class_0, class_1, class_2]")
    zero_shot("-o", "out", "--classes", "made.yaml")
    lines = capsys.readouterr().err.splitlines()
    (line,) = [line for line in lines if line.startswith("warning: ")]
    assert "class_0, class_1, class_2 name nothing" in line


def test_another_method_needs_another_folder(zero_shot, capsys):
    assert zero_shot("-o", "out") == 0
    assert zero_shot("-o", "out") == 0
    assert zero_shot("-o", "out", "--method", "farthest") == 2
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--method", "magic"], "magic"),
        (["--segmenter", "few_shot"], "learns from labels"),
        (["--classes", "none.yaml"], "none.yaml"),
        (["--set", "queries={a: 0}"], "--classes"),
        (["--window", "2"], "window"),
        (["--set", "thersh=1", "--method", "nearest"], "error: --method nearest --set thersh=1: "),
    ],
)
def test_bad_input(zero_shot, capsys, arguments, told):
    assert zero_shot(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
