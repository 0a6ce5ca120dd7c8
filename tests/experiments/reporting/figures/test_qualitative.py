import base64
import io

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.palette import palette
from encoder_ablations.experiments.reporting.figures.pictures import WRONG, error_map
from encoder_ablations.experiments.reporting.figures.qualitative import picture_grid, right_share
from encoder_ablations.experiments.reporting.findings.collection import collect


def pixels(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB"))


def grid(folder, encoders):
    study = collect(folder)
    return picture_grid(study, study.settings[0], encoders)


def test_same_images_of_the_largest_fraction_and_the_first_shared_seed(factory):
    records = [
        factory.record("a", 0.7, 0.1, 0, pictures=["other"]),
        factory.record("a", 0.7, 1.0, 0, pictures=["one"]),
        factory.record("a", 0.7, 1.0, 1, pictures=["zero", "one", "two"]),
        factory.record("a", 0.7, 1.0, 2, pictures=["late"]),
        factory.record("b", 0.5, 1.0, 2, pictures=["late"]),
        factory.record("b", 0.5, 0.1, 0, pictures=["other"]),
        factory.record("b", 0.5, 1.0, 1, pictures=["one", "two", "three"]),
    ]
    shown = grid(factory.write(records), ["a", "b"])
    assert ([row.id for row in shown.rows], shown.fraction, shown.seed) == (["one", "two"], 1.0, 1)
    assert [made.encoder for made in shown.rows[0].predictions] == ["a", "b"]
    assert [entry.name for entry in shown.legend] == ["background", "crater", "boulder"]
    assert shown.notes == []


def test_colours_are_those_of_the_record(factory):
    folder = factory.write([factory.record("a", pictures=["one"])])
    truth = pixels(grid(folder, ["a"]).rows[0].truth)
    assert {tuple(color) for color in truth.reshape(-1, 3).tolist()} == {*palette(3), (0, 0, 0)}


def test_share_of_right_pixels_leaves_ignored_ones_out():
    truth = np.array([[0, 1, 1, 255]])
    assert right_share(truth, np.array([[0, 1, 0, 0]])) == pytest.approx(2 / 3)
    assert right_share(np.full((1, 2), 255), np.zeros((1, 2))) is None


def test_error_map_marks_wrong_pixels_only():
    image = np.full((1, 3, 3), 100, np.uint8)
    shown = error_map(image, np.array([[0, 1, 255]]), np.array([[0, 0, 0]]))
    assert shown[0, 0].tolist() == [191] * 3
    assert shown[0, 1].tolist() == [int(25 + 0.75 * value) for value in WRONG]
    assert shown[0, 2].tolist() == [0] * 3


@pytest.mark.parametrize("damage", ["missing", "truncated", "impossible class", "other size"])
def test_damaged_pictures_are_named_not_hidden(factory, damage):
    folder = factory.write([factory.record("a", pictures=["one", "two"])])
    path = next(folder.glob("runs/*/pictures/one.prediction.png"))
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:60])
    else:
        size = (160, 120) if damage == "impossible class" else (10, 10)
        Image.new("L", size, 7 if damage == "impossible class" else 0).save(path)
    shown = grid(folder, ["a"])
    assert [row.id for row in shown.rows] == ["two"]
    assert len(shown.notes) == 1
    assert shown.notes[0].startswith("The pictures of one are not shown: ")


def test_encoder_without_pictures_is_named(factory):
    folder = factory.write([factory.record("a", 0.7, pictures=["one"]), factory.record("b", 0.5)])
    shown = grid(folder, ["a", "b"])
    assert [made.encoder for made in shown.rows[0].predictions] == ["a"]
    assert shown.notes == ["No pictures were kept for b."]
