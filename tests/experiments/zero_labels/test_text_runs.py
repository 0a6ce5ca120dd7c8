"""Runs of zero_shot on a tiny random CLIP: from texts on disk to a record, and without them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_clips import NAME, make_small, tower

from encoder_ablations.engine.training.checkpoints import body_digest
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.model import load_best
from encoder_ablations.experiments.runs.record import load_record
from tests.experiments.zero_labels.conftest import write

WORDS = {"red": ["tree", "road"], "green": ["small lakes"], "blue": ["rivers"]}
ENCODER = {"name": NAME, "weights": "random", "label": "tiny"}
SMALL = {"short_side": 32, "window": 32, "stride": 16}
SECOND = {"name": "test_vit", "weights": "random"}


def head(folder, **settings):
    text = {"tower": folder, "templates": "aerial"}
    return {"name": "zero_shot", "vocabulary": WORDS, "text": text, **SMALL, **settings}


@pytest.fixture(scope="module")
def small_clip():
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        yield


@pytest.fixture(scope="module")
def tower_folder(tmp_path_factory):
    return tower(tmp_path_factory.mktemp("towers") / "clip")


@pytest.fixture(scope="module")
def finished(small_clip, squares, tower_folder, tmp_path_factory):
    """The folder of a finished study: two methods, and a head that learns."""
    folder = tmp_path_factory.mktemp("texts")
    heads = [head(tower_folder, method=name) for name in ("naclip", "sclip")]
    heads.append(head(tower_folder, method="proxyclip", vfm=SECOND))
    changes = {"segmenters": [*heads, "linear"], "fractions": [0, 0.5, 1]}
    study = write(folder, squares, encoders=[ENCODER], **changes)
    output = folder / "texts"
    assert main(["run", str(study), "--output", str(output), "--device", "cpu"]) == 0
    return output


def records(folder):
    return [load_record(path.parent) for path in sorted(folder.glob("runs/*/record.json"))]


def zero_shot(folder, method="naclip"):
    (found,) = [
        each for each in records(folder) if each.spec.segmenter.title == f"zero_shot {method}"
    ]
    return found, folder / "runs" / found.run_id


def test_one_run_per_method_and_one_per_seed_and_fraction(finished):
    found = [(each.spec.segmenter.title, each.spec.fraction) for each in records(finished)]
    assert len(found) == 3 + 4
    methods = ("naclip", "proxyclip", "sclip")
    assert sorted(found)[4:] == [(f"zero_shot {name}", 0) for name in methods]


def test_the_record_says_what_read_the_texts(finished, tower_folder):
    record, _ = zero_shot(finished)
    assert record.encoder["text_space"] is True
    texts = record.encoder["texts"]
    assert texts["tower"] == tower_folder
    assert texts["templates"] == ["Aerial photo of {} in the city"]
    assert len(texts["tower_sha256"]) == 64
    assert any("random weights" in sentence for sentence in record.disclosures)


@pytest.mark.parametrize("method", ["naclip", "proxyclip"])
def test_a_finished_run_needs_no_tower_and_no_weights(finished, monkeypatch, method):
    record, folder = zero_shot(finished, method)

    def refuse(*args, **options):
        raise AssertionError("the tower was asked for")

    monkeypatch.setattr("encoder_ablations.segmenters.zero_shot.texts.text_features", refuse)
    model, _ = load_best(folder, record.spec, None)
    best = torch.load(folder / "checkpoints/best.pt", weights_only=True)["model"]
    assert torch.equal(model.head.texts, best["head.texts"])
    assert model.head.texts.norm(dim=1).allclose(torch.ones(4))
    second = {name for name in best if name.startswith("head.second.encoder.")}
    assert bool(second) == (method == "proxyclip")
    assert not [name for name in best if name.startswith("encoder.")]


def test_the_record_identifies_the_second_model(finished):
    record, folder = zero_shot(finished, "proxyclip")
    facts = record.encoder["vfm"]
    model, _ = load_best(folder, record.spec, None)
    state = model.head.second.encoder.state_dict()
    assert facts["weights_sha256"] == body_digest(state)
    assert "weights" not in facts, "its weights are random, so that no file names them"
    name = next(iter(state))
    changed = state | {name: state[name] + 1}
    assert facts["weights_sha256"] != body_digest(changed)
    assert "vfm" not in zero_shot(finished)[0].encoder


@pytest.mark.parametrize(
    ("command", "told"),
    [(["status", "--table"], "7 runs: 7 finished"), (["report"], "without labels")],
)
def test_commands_on_the_study(finished, capsys, command, told):
    name, *options = command
    assert main([name, str(finished), *options]) == 0
    assert told in capsys.readouterr().out


def test_a_run_is_evaluated_and_predicts_as_in_the_study(
    finished, tower_folder, squares, tmp_path, capsys
):
    record, folder = zero_shot(finished)
    # the tower is gone: a finished run needs it no more
    hidden = tmp_path / "hidden"
    shutil.move(tower_folder, hidden)
    try:
        assert main(["evaluate", str(folder), "--device", "cpu"]) == 0
        image = f"{squares.root}/images/test/test_0.png"
        output = tmp_path / "out"
        assert main(["predict", str(folder), image, "-o", str(output), "--device", "cpu"]) == 0
    finally:
        shutil.move(hidden, tower_folder)
    assert f"{100 * record.metrics.miou:.2f}" in capsys.readouterr().out
    truth = np.asarray(Image.open(f"{squares.root}/masks/test/test_0.png"))
    assert np.asarray(Image.open(output / "masks/test_0.png")).shape == truth.shape


@pytest.mark.parametrize("kind", ["onnx", "torch", "hf"])
def test_a_run_cannot_be_exported_and_says_so(finished, tmp_path, capsys, kind):
    _, folder = zero_shot(finished)
    if kind == "onnx":
        pytest.importorskip("onnxscript", reason="the extra export is not installed")
    assert main(["export", str(folder), "--format", kind, "-o", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "cannot be exported" in line
    assert not list(tmp_path.iterdir())


def test_a_run_whose_record_is_gone_is_computed_again_with_the_same_score(finished, capsys):
    record, folder = zero_shot(finished)
    (folder / "record.json").unlink()
    study = finished.parent / "colors.yaml"
    assert main(["run", str(study), "--output", str(finished), "--device", "cpu"]) == 0
    again = load_record(folder)
    assert again.confusion_matrix == record.confusion_matrix
    assert again.encoder == record.encoder


def test_the_command_gives_what_a_run_gives(finished, squares, tower_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.yaml").write_text(json.dumps(WORDS))
    (tmp_path / "tiny.yaml").write_text(json.dumps(ENCODER))
    image = f"{squares.root}/images/test/test_0.png"
    text = json.dumps({"tower": tower_folder, "templates": "aerial"})
    settings = [f"{key}={value}" for key, value in SMALL.items()] + [f"text={text}"]
    model = ["--encoder", "tiny.yaml", "--classes", "words.yaml", "--method", "naclip"]
    options = ["-o", "out", "--device", "cpu", "--set", *settings]
    assert main(["zero-shot", image, *model, *options]) == 0
    _, folder = zero_shot(finished)
    assert main(["predict", str(folder), image, "-o", "run", "--device", "cpu"]) == 0
    one, other = (np.asarray(Image.open(f"{each}/masks/test_0.png")) for each in ("out", "run"))
    assert (one == other).all()


@pytest.mark.parametrize(
    ("encoder", "settings", "told"),
    [
        ({"name": NAME}, {"text": {}}, "no known text tower"),
        ({"name": "clip_b16"}, {"text": {"tower": "random"}}, "is for weights: random"),
        ({"name": "dinov2_b14"}, {"text": {}}, "not trained with texts"),
        ({"name": "dinov2_b14"}, {}, "not trained with texts"),
        ({"name": "resnet50"}, {}, "Encoders that were: clip_b32"),
        ({"name": "clip_b32"}, {"window": 16, "stride": 16}, "segmenter.window: 16 pixels"),
        ({"name": "clip_b32"}, {"short_side": 31}, "segmenter.short_side: 31 pixels"),
        ({"name": "clip_b32", "weights": "none.pth"}, {}, "there is no file none.pth"),
        (ENCODER, {"method": "proxyclip", "vfm": SECOND | {"weights": "no.pth"}}, "no.pth"),
        (ENCODER, {"vocabulary": {"red": ["rose"]}}, "no texts for green, blue"),
        (ENCODER, {"vocabulary": {}}, "empty"),
    ],
)
def test_bad_studies_are_refused_before_anything_is_computed(
    write_study, tower_folder, capsys, encoder, settings, told
):
    heads = [head(tower_folder, **settings), "linear"]
    path = write_study(segmenters=heads, encoders=[encoder], fractions=[0, 1])
    for options in (["--dry-run"], ["--device", "cpu"]):
        assert main(["run", path, *options]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert told in line
    assert not Path("outputs").exists()


def test_invented_names_are_warned_of_before_a_study(write_study, tower_folder, capsys):
    names = {"red": ["class 0"], "green": ["class 1"], "blue": ["class 2"]}
    path = write_study(segmenters=[head(tower_folder, vocabulary=names)], encoders=[ENCODER])
    assert main(["run", path, "--dry-run"]) == 0
    assert "warning: the texts class 0, class 1, class 2 name nothing" in capsys.readouterr().out


def test_random_weights_need_no_tower_and_say_that_scores_are_chance(
    small_clip, write_study, squares, tmp_path, capsys
):
    own = head("", text={"templates": "aerial"})
    path = write_study(segmenters=[own], encoders=[ENCODER], fractions=[0])
    assert main(["run", path, "--output", "study", "--device", "cpu"]) == 0
    (record,) = records(tmp_path / "study")
    assert record.encoder["texts"]["tower"] == "random"
    assert any("scores are chance" in line for line in record.disclosures)
    (tmp_path / "words.yaml").write_text(json.dumps(WORDS))
    (tmp_path / "tiny.yaml").write_text(json.dumps(ENCODER))
    settings = [f"{key}={value}" for key, value in SMALL.items()]
    model = ["--encoder", "tiny.yaml", "--classes", "words.yaml", "--set", *settings]
    image = f"{squares.root}/images/test/test_0.png"
    capsys.readouterr()
    assert main(["zero-shot", image, *model, "-o", "out", "--device", "cpu"]) == 0
    assert "The encoder's weights are random" in capsys.readouterr().out
    page = (tmp_path / "out/index.html").read_text()
    assert "weights are random" in page
    assert "scores are chance" in page


def test_a_tower_of_another_width_is_refused(small_clip, write_study, tmp_path, capsys):
    other = tower(tmp_path / "narrow", width=16)
    path = write_study(segmenters=[head(other)], encoders=[ENCODER])
    assert main(["run", path, "--device", "cpu"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "have 16 numbers" in line


@pytest.mark.parametrize(
    ("regions", "told"),
    [
        ({"source": "sam", "model": "no_sam"}, "'no_sam' cannot be loaded"),
        ({"source": "folder", "masks": "none", "images": "."}, "folder none does not exist"),
    ],
)
def test_the_command_finds_missing_regions_before_it_writes(
    small_clip, squares, tower_folder, tmp_path, monkeypatch, capsys, regions, told
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "words.yaml").write_text(json.dumps(WORDS))
    (tmp_path / "tiny.yaml").write_text(json.dumps(ENCODER))
    given = {**SMALL, "text": {"tower": tower_folder}, "regions": [regions] * 4}
    settings = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    model = ["--encoder", "tiny.yaml", "--classes", "words.yaml", "--method", "reseg"]
    options = ["-o", "out", "--device", "cpu", "--set", *settings]
    assert main(["zero-shot", f"{squares.root}/images/test", *model, *options]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("error: ")
    assert told in line
    assert not (tmp_path / "out").exists()


def test_a_photo_without_regions_is_named(
    small_clip, squares, tower_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.yaml").write_text(json.dumps(WORDS))
    (tmp_path / "tiny.yaml").write_text(json.dumps(ENCODER))
    (tmp_path / "empty").mkdir()
    plan = [{"blocks": [-2, -2], "attend": "regions"}]
    regions = [{"source": "folder", "masks": "empty", "images": "empty"}]
    given = {**SMALL, "text": {"tower": tower_folder}, "regions": regions, "plan": plan}
    settings = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    image = f"{squares.root}/images/test/test_0.png"
    model = ["--encoder", "tiny.yaml", "--classes", "words.yaml", "--set", *settings]
    assert main(["zero-shot", image, *model, "-o", "out", "--device", "cpu"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert f"left out: {image}: segmenter.regions: no image in empty" in line
