"""``ablate predict`` on real files."""

import csv
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data.datasets.reading import read_ids
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.prediction.inputs import input_files
from encoder_ablations.experiments.runs import model
from encoder_ablations.utils.errors import InputError


@pytest.fixture
def photos(tmp_path):
    """A folder of two photos, one of them in a folder of its own."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    Image.fromarray(rng.integers(0, 256, (50, 70, 3), np.uint8)).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 256, (64, 40), np.uint8)).save(folder / "more" / "b.JPG")
    return folder


def run(*arguments):
    return main(["predict", *map(str, arguments), "--device", "cpu"])


def test_a_folder_is_predicted(study, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(study, photos, "-o", out) == 0
    assert "on val" in capsys.readouterr().out
    mask = read_ids(out / "masks" / "a.png")
    assert mask.shape == (50, 70)
    assert Image.open(out / "masks" / "a.png").mode == "P"
    overlay = np.asarray(Image.open(out / "overlays" / "more" / "b.jpg"))
    assert overlay.shape == (64, 40, 3)
    described = json.loads((out / "predictions.json").read_text())
    assert [image["name"] for image in described] == ["a", "more/b"]
    counts = np.bincount(mask.reshape(-1), minlength=3)
    assert list(described[0]["pixels"].values()) == counts.tolist()
    rows = list(csv.DictReader(io.StringIO((out / "areas.csv").read_text())))
    assert sum(int(row["pixels"]) for row in rows if row["image"] == "a") == 50 * 70


def test_windows_views_and_ensembles_are_options(study, photos, tmp_path):
    options = ["--window", 32, "--batch", 2, "--tta", "flips=horizontal,vertical", "scales=0.75"]
    options += ["--refine", "radius=2", "--post", "smallest_area.all=20", "largest_only=crater"]
    assert run(study, photos, "-o", tmp_path / "out", "--runs", "*", *options) == 0
    settings = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert len(settings["runs"]) == 2
    assert settings["inference"]["views"]["flips"] == ["horizontal", "vertical"]
    assert settings["inference"]["postprocess"]["smallest_area"] == {"all": 20}
    described = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert described[0]["mean_disagreement"] > 0
    craters = (read_ids(tmp_path / "out" / "masks" / "a.png") == 1).astype(np.uint8)
    assert cv2.connectedComponents(craters)[0] <= 2  # the background counts as one


def test_what_is_complete_is_not_predicted_again(study, photos, tmp_path):
    out = tmp_path / "out"
    run(study, photos / "a.png", "-o", out)
    mask = out / "masks" / "a.png"
    Image.fromarray(np.full((3, 3), 2, np.uint8)).save(mask)
    kept = mask.read_bytes()
    assert run(study, photos, "-o", out) == 0
    assert mask.read_bytes() == kept
    assert (out / "masks" / "more" / "b.png").exists()


def test_other_settings_do_not_mix_with_old_predictions(study, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(study, photos, "-o", out) == 0
    assert run(study, photos, "-o", out, "--tta", "turns") == 2
    assert "other models or settings" in capsys.readouterr().err


def test_an_unreadable_file_is_named_and_left_out(study, photos, tmp_path, capsys):
    (photos / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert run(study, photos, "-o", out) == 2
    assert "broken.png" in capsys.readouterr().err
    assert not list(out.rglob("broken*"))
    assert len(json.loads((out / "predictions.json").read_text())) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tta", "flip=horizontal"], "flips"),
        (["--tta", "scales=0"], "scales"),
        (["--post", "opening.bus=2"], "bus"),
        (["--post", "smallest_area.crater=-2"], "smallest_area"),
        (["--refine", "radius=0"], "radius"),
        (["--window", "8"], "32"),
        (["--overlap", "1"], "overlap"),
        (["--device", "gpu"], "gpu"),
    ],
)
def test_wrong_options_are_one_line(study, photos, capsys, options, said, tmp_path):
    code = main(["predict", str(study), str(photos), "-o", str(tmp_path / "o"), *options])
    assert code == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not (tmp_path / "o").exists()


def test_inputs_are_files_folders_patterns_and_stdin(photos):
    listed = io.StringIO(f"{photos / 'a.png'}\n\n{photos / 'more'}\n")
    assert [file.name for file in input_files(["-"], listed)] == ["a", "b"]
    assert [file.name for file in input_files([str(photos / "*.png")])] == ["a"]
    with pytest.raises(InputError, match="both be written"):
        input_files([str(photos / "a.png"), str(photos / "more" / "b.JPG"), str(copied(photos))])
    with pytest.raises(InputError, match="no image"):
        input_files([str(photos.parent / "empty")])
    with pytest.raises(InputError, match="there is no file"):
        input_files([str(photos / "c.png")])


def copied(photos):
    (photos.parent / "empty").mkdir()
    other = photos / "more" / "A.png"
    other.write_bytes((photos / "a.png").read_bytes())
    return other


def test_a_split_is_scored_and_its_page_shows_the_worst_first(study, tmp_path):
    out = tmp_path / "out"
    options = ["--uncertainty", "--heatmaps", "--probabilities"]
    assert run(study, "--split", "test", "-o", out, *options) == 0
    described = json.loads((out / "predictions.json").read_text())
    scores = {image["name"]: image["miou"] for image in described}
    page = (out / "index.html").read_text()
    worst = sorted(scores, key=scores.get)
    assert page.index(f"<strong>{worst[0]}<") < page.index(f"<strong>{worst[-1]}<")
    assert "http" not in page.replace("http://www.w3.org", "")
    for image in described:
        name = image["name"]
        mask, truth = (read_ids(out / kind / f"{name}.png") for kind in ("masks", "truth"))
        assert image["pixel_accuracy"] == pytest.approx((mask == truth).mean())
        kept = np.load(out / "probabilities" / f"{name}.npz")
        assert (kept["probabilities"].argmax(axis=0) == mask).mean() > 0.99  # float16
        assert list(kept["classes"]) == ["background", "crater", "boulder"]
        assert (out / "heatmaps" / f"{name}.crater.png").exists()
        assert (out / "uncertainty" / f"{name}.png").exists()


def test_either_inputs_or_a_split_are_named(study, photos, capsys, tmp_path):
    for wrong in ([], [photos, "--split", "val"], ["--split", "nonsense"]):
        assert run(study, *wrong, "-o", tmp_path / "out") == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_class_is_cut_out(study, photos, tmp_path):
    photo = np.asarray(Image.open(photos / "a.png"))
    for options, mode in (([], "RGB"), (["--transparent", "--invert"], "RGBA")):
        out = tmp_path / f"out{mode}"
        assert run(study, photos / "a.png", "-o", out, "--cut-out", "crater", *options) == 0
        picture = Image.open(out / "cut_outs" / "a.png")
        assert picture.mode == mode
        kept = (read_ids(out / "masks" / "a.png") == 1) != bool(options)
        pixels = np.asarray(picture)
        assert np.array_equal(pixels[:, :, :3], np.where(kept[:, :, None], photo, 0))
        if options:
            assert np.array_equal(pixels[:, :, 3] == 255, kept)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cut-out", "bus"], "bus"),
        (["--invert"], "--cut-out"),
        (["--cut-out", "crater", "--queries", "score=2"], "score=2"),
        (["--cut-out", "crater", "--queries", "points=2"], "points"),
        (["--cut-out", "crater", "--queries"], "mask2former"),
        (["--threads", 0], "--threads 0"),
    ],
)
def test_wrong_cut_outs_are_one_line(study, photos, capsys, options, said, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "load_best", lambda *_: pytest.fail("a model was loaded"))
    assert run(study, photos / "a.png", "-o", tmp_path / "o", *options) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert said in error
    assert not (tmp_path / "o").exists()


def test_an_output_within_the_inputs_is_refused(study, photos, capsys):
    assert run(study, photos, "-o", photos / "out") == 2
    assert "lies in" in capsys.readouterr().err
    assert not (photos / "out").exists()


def test_a_second_call_describes_the_first_ones_images_too(study, photos, tmp_path):
    out = tmp_path / "out"
    assert run(study, photos / "a.png", "-o", out) == 0
    assert run(study, photos / "more", "-o", out) == 0
    described = json.loads((out / "predictions.json").read_text())
    assert [image["name"] for image in described] == ["a", "b"]
