"""Annotations that cannot be read are refused in one line that names the file."""

import json

import pytest
from known_layouts import LAYOUTS

from encoder_ablations.experiments.cli import main

DAMAGES = {
    "box": ("yolo_seg", "labels/train/y1.txt", "1 0.5 0.5 0.2 0.2\n", "only a box"),
    "class": ("yolo_seg", "labels/train/y1.txt", "7 0 0 0.5 0 0.5 0.5\n", "of the class 7"),
    "word": ("yolo_seg", "labels/train/y1.txt", "car 0 0 0.5 0 0.5 0.5\n", "no outline"),
    "title": ("supervisely", "meta.json", '{"classes": [{"title": "dune"}]}', "meta.json lacks"),
    "meta": ("supervisely", "meta.json", "[]", "lists no classes"),
    "bytes": ("yolo_seg", "labels/train/y1.txt", "\udcff", "no outline"),
    "task": (
        "label_studio",
        "project-1-at-2024-05-01.json",
        json.dumps([{"id": 7, "data": {"image": "x-rock_1.png"}, "annotations": [{}]}]),
        "task 7",
    ),
    "no shapes": (
        "labelme_json", "rock_1.json", '{"imagePath": "rock_1.jpg", "shapes": [3]}',
        "no complete labelme file",
    ),
    "points": (
        "labelme_json",
        "rock_1.json",
        json.dumps({
            "imagePath": "rock_1.jpg", "imageHeight": 48, "imageWidth": 64,
            "shapes": [{"label": "a", "points": [[1, "x"]], "shape_type": "polygon"}],
        }),
        "no complete labelme file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGES)
def test_damaged_annotations_are_named(case, tmp_path, monkeypatch, capsys):
    name, path, content, message = DAMAGES[case]
    monkeypatch.chdir(tmp_path)
    LAYOUTS[name](tmp_path / "in")
    (tmp_path / "in" / path).write_text(content, errors="surrogateescape")
    assert main(["init", "in", "--output", "made.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert path.split("/")[-1] in line
    assert message in line
    assert not (tmp_path / "made.yaml").exists()


def test_shapes_of_label_studio_that_are_no_areas_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    LAYOUTS["label_studio"](tmp_path / "in")
    (export,) = (tmp_path / "in").glob("*.json")
    tasks = json.loads(export.read_text())
    (_, annotation) = tasks[0]["annotations"]
    box = {"x": 10, "y": 10, "width": 5, "height": 5, "rectanglelabels": ["rock"]}
    first = annotation["result"][0]
    annotation["result"] += [first | {"type": "rectanglelabels", "value": box}] * 2
    export.write_text(json.dumps(tasks))
    assert main(["init", "in", "--output", "made.yaml"]) == 0
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "2 shapes are left out (rectanglelabels): only brushes and polygons are read." in said
