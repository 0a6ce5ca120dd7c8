"""Empty, repeated and invented names of classes are refused, or named, in every list."""

import json

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.class_map import read_class_map
from encoder_ablations.data.datasets.class_names import invented_names
from encoder_ablations.data.intake.hub_reference import _classes
from encoder_ablations.data.intake.layouts.recognition import propose
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.cli import main
from encoder_ablations.utils.config import read_yaml
from encoder_ablations.utils.errors import InputError

EMPTY = ["", " ", "\t"]


@pytest.fixture
def folder(tmp_path):
    """Images and masks of three ids."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for kind, shape in (("images", (32, 32, 3)), ("masks", (32, 32))):
        (root / kind).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 3, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{number}.png")
    return root


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("key", ["classes", "mask_titles"])
def test_an_empty_name_in_a_dataset(tmp_path, name, key):
    content = {
        "name": "x",
        "root": "x",
        "classes": ["a", "b"],
        "splits": {"train": "train", "val": "val"},
    }
    content |= {"mask_format": "supervisely", "mask_titles": ["a", "b"], key: ["a", name]}
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{path}: '{key}': the name of class 1 is empty"):
        load_dataset(str(path))


def test_names_that_differ_in_spaces_only(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: x\nroot: x\nclasses: [road, 'road ', car]\nsplits: {train: train, val: val}\n"
    )
    with pytest.raises(InputError, match="'classes': every class needs a name of its own; road"):
        load_dataset(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("shared: {' ': {trained: [road]}}", "'shared': the name of class 0 is empty"),
        ("shared: {road: {trained: ['']}}", "'shared.road.trained': the name of class 0 is empty"),
        (
            "shared: {road: {tested: [street, street]}}",
            "'shared.road.tested': .* street stands twice",
        ),
        ("shared: {road: {}, road: {trained: [lane]}}", "'road' stands twice"),
    ],
)
def test_class_maps(tmp_path, content, message):
    path = tmp_path / "map.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_class_map(path)
    assert str(path) in str(caught.value)


def test_a_key_that_stands_twice_in_a_yaml(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nvalue_map: {0: 0, 255: 1, 0: 1}\n")
    with pytest.raises(InputError, match="'0' stands twice"):
        read_yaml(path)
    path.write_text("one: &one {a: 1}\ntwo:\n  <<: *one\n  a: 2\n")
    assert read_yaml(path)["two"] == {"a": 2}


@pytest.mark.parametrize("option", ["a,,c", "a, ,c", "a,b,", "a,b,a", " "])
def test_option_of_init(folder, tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    assert main(["init", str(folder), "--classes", option]) == 2
    assert "--classes: " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("classes.txt", "road\ncar\nroad\n", "road stands twice"),
        ("classes.txt", "0: road\n1:\n2: car\n", "row 2"),
        ("classes.json", '["road", " ", "car"]', "class 1 is empty"),
        ("classes.json", '["road", "car", "road"]', "road stands twice"),
        ("classes.json", '{"0": "road", "1": "", "2": "car"}', "class 1 is empty"),
        ("class_dict.csv", "name,r,g,b\nroad,0,0,0\n,9,9,9\n", "row 3"),
        ("labelmap.txt", "# label:color_rgb\nroad:0,0,0::\n :9,9,9::\n", "row 3"),
    ],
)
def test_lists_and_colour_tables(folder, file, content, message):
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        propose(folder)
    assert str(folder / file) in str(caught.value)


@pytest.mark.parametrize("entry", [{"id": 7, "name": " "}, {"id": 7, "name": None}, {"id": 7}])
def test_coco_categories(tmp_path, entry):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "1.jpg")
    image = {"id": 1, "file_name": "1.jpg", "height": 8, "width": 8}
    path = tmp_path / "notes.json"
    path.write_text(json.dumps({"images": [image], "annotations": [], "categories": [entry]}))
    with pytest.raises(InputError, match="category 7 has an empty name") as caught:
        propose(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("names", [["road", ""], ["road", "road"], ["road", None]])
def test_names_from_the_hub(names):
    with pytest.raises(InputError, match=r"owner/name.*the hub's class names"):
        _classes(names, [0, 1], "owner/name")


def test_names_that_nobody_gave():
    given = [
        "class_3",
        "Class 12",
        "7",
        "color_ff0000",
        "label-1",
        "road",
        "class",
        "lane2",
        "zone_1",
    ]
    assert invented_names(given) == given[:5]
