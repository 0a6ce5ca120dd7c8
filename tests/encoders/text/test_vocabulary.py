"""Vocabularies: classes and their texts, or one clear line."""

import pytest

from encoder_ablations import load_vocabulary
from encoder_ablations.encoders.text.vocabulary import (
    texts_of_names,
    vocabulary_yaml,
    warning_of_placeholders,
)
from encoder_ablations.utils.errors import InputError


def written(tmp_path, text):
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    return path


def test_synonyms_names_and_datasets_are_read(tmp_path):
    found = load_vocabulary(written(tmp_path, "ground: [street, Dirt road]\nwater: lake\n"))
    assert found.names == ("ground", "water")
    assert found.queries == {"street": 0, "Dirt road": 0, "lake": 1}
    names = load_vocabulary(written(tmp_path, "- road\n- sky\n"))
    assert names.queries == {"road": 0, "sky": 1}
    dataset = "name: mine\nroot: /data\nclasses: [road, sky]\nsplits: {train: train}\n"
    assert load_vocabulary(written(tmp_path, dataset)) == names
    assert load_vocabulary(["road", "sky"]) == names
    # a class may be called so
    assert load_vocabulary({"classes": ["school", "lesson"]}).names == ("classes",)


def test_invented_names_are_no_texts():
    invented = load_vocabulary(texts_of_names(["class_0", "class_1", "sky"])).queries
    assert "class 0, class 1 name nothing" in warning_of_placeholders(invented)
    assert warning_of_placeholders(["3", "road"]) is not None
    assert warning_of_placeholders(["road", "first class carriage", "type 2 car"]) is None


def test_ids_are_those_of_the_dataset():
    found = load_vocabulary({"water": ["lake", "river"], "road": ["street"]})
    names = ["background", "road", "water"]
    assert found.queries_for(names) == {"lake": 2, "river": 2, "street": 1}
    with pytest.raises(InputError, match=r"file: unknown class 'water'.*'waters'"):
        found.queries_for(["waters", "road"], "file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("- {a: b}", "is no text"),
        ("[3]", "'3' is no text"),
        ("water: [lake]\n' water': [sea]", "'water' stands twice"),
        ("[]", "empty"),
        ("{}", "empty"),
        ("water", "vocabulary is needed"),
        ("3", "vocabulary is needed"),
        ("water: []\nroad: [road]", r"'water' has no texts. Write water: \[water\]"),
        ("water:\nroad: [road]", "'water' has no texts"),
        ("water: [lake, 3]", "'3' is no text"),
        ("water: [lake, '  ']", "is no text"),
        ("no: [lake]", "'False' is no text"),
        ("water: [lake]\nsea: [Lake]", "'Lake' stands for water and for sea"),
        ("water: [lake, lake]", "'lake' stands for water and for water"),
        ("- road\n- road", "'road' stands twice"),
        ("water: {a: b}", "no texts"),
    ],
)
def test_bad_vocabularies_are_one_line(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as raised:
        load_vocabulary(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        load_vocabulary(tmp_path / "none.yaml")


def test_a_first_vocabulary_can_be_read(tmp_path):
    names = ("road_side", "no: 1", "yes")
    found = load_vocabulary(written(tmp_path, vocabulary_yaml(names)))
    assert found.texts == {"road_side": ["road side"], "no: 1": ["no: 1"], "yes": ["yes"]}
    assert load_vocabulary(found.texts) == found
