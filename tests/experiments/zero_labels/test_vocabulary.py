"""Texts of classes: from a vocabulary's file or the dataset's names into a run's specification."""

import pytest
import yaml
from toy_colors import HEAD

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.studies.saved_study import resolve_study
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.zero_labels.vocabulary import (
    queries_of,
    read_vocabulary,
    vocabulary_yaml,
)
from encoder_ablations.utils.errors import InputError

WORDS = "red: [red, rose]\ngreen: [grass]\nblue: sky\n"


def test_synonyms_get_the_id_of_their_class(tmp_path):
    (tmp_path / "words.yaml").write_text(WORDS)
    vocabulary = read_vocabulary(tmp_path / "words.yaml")
    found = queries_of(vocabulary, ("blue", "green", "red"))
    assert found == {"sky": 0, "grass": 1, "red": 2, "rose": 2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("red: []\ngreen: [g]\nblue: [b]", "red"),
        ("red: [x]\ngreen: [x]\nblue: [b]", "both red and green"),
        ("red: [r]\ngreen: [g]", "blue"),
        ("red: [r]\ngreen: [g]\nbleu: [b]", "blue"),
        ("red: [1]\ngreen: [g]\nblue: [b]", "red"),
    ],
)
def test_bad_vocabularies(tmp_path, text, told):
    (tmp_path / "words.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        queries_of(read_vocabulary(tmp_path / "words.yaml"), ("red", "green", "blue"))


def test_a_study_reads_the_file_beside_it(write_study, tmp_path, monkeypatch):
    (tmp_path / "words.yaml").write_text(WORDS)
    path = write_study(segmenters=[{"name": HEAD, "vocabulary": "words.yaml"}])
    monkeypatch.chdir("/")
    study = load_study_spec(path)
    (run,) = plan(study)
    assert run.segmenter.queries == {"red": 0, "rose": 0, "grass": 1, "sky": 2}
    (resolved,) = resolve_study(study).segmenters
    assert resolved["vocabulary"]["blue"] == ["sky"]

    (tmp_path / "words.yaml").write_text(WORDS.replace("rose", "brick"))
    (other,) = plan(load_study_spec(path))
    assert other.run_id != run.run_id
    (again,) = plan(study.model_copy(update={"segmenters": [resolved]}))
    assert again.run_id == run.run_id


def test_train_uses_no_labels_either(write_study, squares, capsys):
    write_study()
    with open("data.yaml", "w") as file:
        yaml.safe_dump(squares.model_dump(mode="json"), file)
    words = ["--encoder", "toy_colors:colors", "--segmenter", HEAD, "--dataset", "data.yaml"]
    options = ["encoder.neck=none", "--device", "cpu"]
    assert main(["train", *words, *options]) == 0
    assert "100.00 %" in capsys.readouterr().out
    assert main(["train", *words, *options, "--fraction", "0.5"]) == 2
    assert "--fraction" in capsys.readouterr().err


def test_a_first_vocabulary_can_be_read(tmp_path):
    classes = ("road_side", "no: 1", "yes")
    (tmp_path / "words.yaml").write_text(vocabulary_yaml(classes))
    found = queries_of(read_vocabulary(tmp_path / "words.yaml"), classes)
    assert found == {"road side": 0, "no: 1": 1, "yes": 2}
