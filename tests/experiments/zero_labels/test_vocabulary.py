"""Texts of classes: from a vocabulary's file or the dataset's names into a run's specification."""

import pytest
import yaml
from toy_colors import HEAD

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.studies.saved_study import resolve_study
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.zero_labels.queries import with_queries
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.errors import InputError

WORDS = "red: [red, rose]\ngreen: [grass]\nblue: sky\n"


def queries_of(path, classes, **settings):
    """The queries of a head that reads a vocabulary's file."""
    head = load_segmenter({"name": HEAD, "vocabulary": str(path), **settings})
    return with_queries(head, classes).queries


def test_synonyms_get_the_id_of_their_class(tmp_path):
    (tmp_path / "words.yaml").write_text(WORDS)
    found = queries_of(tmp_path / "words.yaml", ("blue", "green", "red"))
    assert list(found.items()) == [("sky", 0), ("grass", 1), ("red", 2), ("rose", 2)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("red: []\ngreen: [g]\nblue: [b]", "red"),
        ("red: [x]\ngreen: [x]\nblue: [b]", "for red and for green"),
        ("red: [r]\ngreen: [g]", "no texts for blue"),
        ("red: [r]\ngreen: [g]\nbleu: [b]", "blue"),
        ("red: [1]\ngreen: [g]\nblue: [b]", "'1' is no text"),
    ],
)
def test_bad_vocabularies(tmp_path, text, told):
    (tmp_path / "words.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        queries_of(tmp_path / "words.yaml", ("red", "green", "blue"))


def test_names_of_classes_are_their_texts_without_underscores():
    head = load_segmenter(HEAD)
    assert with_queries(head, ("road_side", "sky")).queries == {"road side": 0, "sky": 1}


def test_the_background_needs_no_text():
    settings = {"vocabulary": {"road": ["street"]}, "background": 1}
    head = load_segmenter({"name": "zero_shot", **settings})
    assert with_queries(head, ("road", "rest")).queries == {"street": 0}


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
