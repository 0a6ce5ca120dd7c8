"""``ablate predict --grad-cam`` and ``--similarity``: pictures, and layers of the gallery."""

import base64
import json
import re

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.reading import read_ids
from encoder_ablations.experiments.cli import main


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def run(*arguments):
    return main(["predict", *map(str, arguments), "--device", "cpu"])


def test_heat_maps_are_of_a_class_and_a_region(study, photo, tmp_path):
    pictures = {}
    original = np.asarray(Image.open(photo))
    for name, options in {
        "class": ["--level", "p3"],
        "box": ["--region", "5,6,30,20", "--level", "p3"],
        "pixel": ["--region", "60,40"],
    }.items():
        out = tmp_path / name
        assert run(study, photo, "-o", out, "--grad-cam", "background", *options) == 0
        pictures[name] = np.asarray(Image.open(out / "grad_cam" / "photo.png"))
        assert pictures[name].shape == original.shape
        assert (pictures[name] != original).any()
        assert 'value="grad_cam"' in (out / "index.html").read_text()
    # the outline of the box, of columns 5..29 and rows 6..19
    assert (pictures["box"][5, 4:31] == 255).all()
    assert (pictures["box"][5:21, 30] == 255).all()
    assert (pictures["box"] != pictures["class"]).any()


def test_a_class_that_is_not_predicted_has_no_heat_map(study, photo, tmp_path):
    out = tmp_path / "out"
    options = ["--post", "smallest_area.crater=9999", "--grad-cam", "crater"]
    assert run(study, photo, "-o", out, *options) == 0
    assert not (read_ids(out / "masks" / "photo.png") == 1).any()
    assert not (out / "grad_cam").exists()
    assert 'value="grad_cam"' not in (out / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--grad-cam", "bus"], "bus"),
        (["--region", "1,2"], "--grad-cam"),
        (["--grad-cam", "crater", "--region", "5,5,5,9"], "x0 < x1"),
        (["--grad-cam", "crater", "--region", "here"], "x0 < x1"),
        (["--grad-cam", "crater", "--level", "p9"], "p9"),
        (["--grad-cam", "crater", "--window", "32"], "--window"),
        (["--similarity", "--runs", "*"], "--runs"),
    ],
)
def test_wrong_options_are_one_line(study, photo, tmp_path, capsys, options, said):
    assert run(study, photo, "-o", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_a_region_outside_of_an_image_names_its_size(study, photo, tmp_path, capsys):
    options = ["--grad-cam", "crater", "--region", "100,100,120,120"]
    assert run(study, photo, "-o", tmp_path / "out", *options) == 2
    assert "70×50" in capsys.readouterr().err


def test_the_page_holds_what_it_computes_similarities_from(study, photo, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(study, photo, "-o", out, "--similarity") == 0
    page = (out / "index.html").read_text()
    size = len(page.encode()) / 1e6
    assert f"({size:.1f} MB)" in capsys.readouterr().out
    (canvas,) = re.findall(r"<canvas[^>]*>", page)
    facts = dict(re.findall(r'([a-z-]+)="([^"]*)"', canvas))
    with np.load(out / "similarity" / "photo.npz") as found:
        values = found["values"]
    inlined = np.frombuffer(base64.b64decode(facts["data-values"]), np.int8)
    assert np.array_equal(inlined.reshape(values.shape), values)
    rows, columns, rank = values.shape
    sizes = [facts["height"], facts["width"], facts["data-rank"]]
    assert [int(size) for size in sizes] == [rows, columns, rank]
    assert json.loads((out / "prediction.json").read_text())["similarity"] is True
