"""A planted toy, whose patches and texts are colours, is segmented perfectly by zero_shot."""

import json

import numpy as np
import pytest
import toy_text_colors
from PIL import Image

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.record import load_record

HEAD = {"text": {"tower": "planted"}, "short_side": None, "long_side": None}
HEAD |= {"window": 16, "stride": 8}


@pytest.fixture(autouse=True)
def planted_tower(monkeypatch):
    where = "encoder_ablations.segmenters.zero_shot.texts"
    monkeypatch.setattr(f"{where}.text_features", toy_text_colors.features)
    monkeypatch.setattr(f"{where}.text_facts", lambda encoder, spec: {"tower": spec.tower})


@pytest.mark.parametrize("method", ["naclip", "maskclip"])
def test_a_study(write_study, tmp_path, method):
    heads = [{"name": "zero_shot", "method": method, **HEAD}]
    path = write_study(encoders=[toy_text_colors.ENCODER], segmenters=heads, fractions=[0])
    assert main(["run", path, "--output", "out", "--device", "cpu"]) == 0
    (record,) = map(load_record, (tmp_path / "out/runs").iterdir())
    assert record.metrics.miou == 1
    assert record.encoder["texts"] == {"tower": "planted"}


def test_the_command(squares, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.yaml").write_text("[blue, green, red]")
    (tmp_path / "eye.yaml").write_text(json.dumps(toy_text_colors.ENCODER))
    settings = [f"{key}={json.dumps(value)}" for key, value in HEAD.items()]
    words = ["--encoder", "eye.yaml", "--classes", "words.yaml", "--set", *settings]
    image = f"{squares.root}/images/test/test_0.png"
    assert main(["zero-shot", image, *words, "-o", "out", "--device", "cpu"]) == 0
    predicted = np.asarray(Image.open(tmp_path / "out/masks/test_0.png"))
    truth = np.asarray(Image.open(f"{squares.root}/masks/test/test_0.png"))
    # red, green, blue in the dataset
    assert (predicted[:, :-1] == 2 - truth[:, :-1]).all()


class NoBlocks(toy_text_colors.ColorsWithBlocks):
    def as_blocks(self):
        return [self]


def test_blocks_of_ones_own_must_be_blocks(write_study, monkeypatch, capsys):
    monkeypatch.setattr(toy_text_colors, "ColorsWithBlocks", NoBlocks)
    path = write_study(
        encoders=[toy_text_colors.ENCODER], segmenters=[{"name": "zero_shot", **HEAD}]
    )
    assert main(["run", path, "--device", "cpu"]) == 2
    assert "as_blocks() returned list" in capsys.readouterr().err
