"""Averages of checkpoints: exact where they are equal, refused where they are no one network."""

import json
import shlex
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.text.towers import load_tower
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.commands.average import EXAMPLES
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from tests.encoders.small_vits import create_small
from tests.helpers.small_text_towers import clip_folder

SIZE = 1000


def checkpoint(path, seed=0, near=None, dtype=torch.float32, **others):
    """A file of two tensors; ``near`` another one, or independent of it."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(SIZE, generator=generator)
    weight = drawn if near is None else load_file(near)["weight"].float() + 0.1 * drawn
    save_file({"weight": weight.to(dtype), "count": torch.tensor([7]), **others}, path)
    return path


def run(capsys, *arguments):
    """Return the exit code and what is printed."""
    code = main(["average", *map(str, arguments)])
    streams = capsys.readouterr()
    return code, streams.out + streams.err


def refusal(capsys, *arguments):
    code, text = run(capsys, *arguments)
    assert code == 2
    *_, last = text.strip().splitlines()
    return last


@pytest.fixture
def pair(tmp_path):
    first = checkpoint(tmp_path / "a.safetensors")
    return first, checkpoint(tmp_path / "b.safetensors", 1, near=first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("by", [(1, 1), (0.3, 0.7), (0.1, 0.2, 0.7)])
def test_a_checkpoint_averaged_with_itself_is_itself(tmp_path, capsys, dtype, by):
    file = checkpoint(tmp_path / "a.safetensors", dtype=dtype)
    output = tmp_path / "out.safetensors"
    assert run(capsys, *[file] * len(by), "--by", *by, "-o", output)[0] == 0
    found, expected = load_file(output), load_file(file)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert all(found[name].dtype == expected[name].dtype for name in found)


def test_an_average_is_the_weighted_sum(tmp_path, capsys, pair):
    output = tmp_path / "out.safetensors"
    code, text = run(capsys, *pair, "--by", 3, 1, "-o", output)
    one, two = (load_file(path)["weight"] for path in pair)
    torch.testing.assert_close(load_file(output)["weight"], 0.75 * one + 0.25 * two)
    distance = float((two - one).norm() / one.norm())
    assert code == 0
    assert f"distance {distance:.3g}" in text
    with safe_open(output, "pt") as opened:
        parts = json.loads(opened.metadata()["average"])
    assert [part["weight"] for part in parts] == [0.75, 0.25]
    assert parts[1]["distance"] == pytest.approx(distance)
    assert refusal(capsys, *pair, "-o", output).count("exists already")


def test_independent_checkpoints_are_refused_unless_forced(tmp_path, capsys, pair):
    other = checkpoint(tmp_path / "c.safetensors", 2)
    output = tmp_path / "out.safetensors"
    message = refusal(capsys, pair[0], other, "-o", output)
    assert "c.safetensors must not be averaged" in message
    assert "at most 0.5" in message
    assert not output.exists()
    assert "at most 0.05" in refusal(capsys, *pair, "--limit", "0.05", "-o", output)
    assert run(capsys, pair[0], other, "--force", "-o", output)[0] == 0


def test_other_networks_are_refused(tmp_path, capsys, pair):
    output = tmp_path / "out.safetensors"
    extra = checkpoint(tmp_path / "c.safetensors", 1, extra=torch.zeros(3))
    assert "extra" in refusal(capsys, pair[0], extra, "-o", output)
    wide = tmp_path / "d.safetensors"
    save_file({"weight": torch.zeros(3), "count": torch.tensor([7])}, wide)
    assert "weight has the shapes (1000,) and (3,)" in refusal(capsys, pair[0], wide, "-o", output)
    counted = tmp_path / "e.safetensors"
    save_file({"weight": load_file(pair[0])["weight"], "count": torch.tensor([8])}, counted)
    assert "count holds whole numbers" in refusal(capsys, pair[0], counted, "-o", output)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_other_activations_are_refused(tmp_path, capsys, pair, force):
    """Also when the distance is forced: the same numbers mean another function."""
    output = tmp_path / "out.safetensors"
    options = ["--activations", "quick_gelu", "gelu", *force, "-o", output]
    message = refusal(capsys, *pair, *options)
    assert "activations differ, quick_gelu and gelu" in message
    # what was said is kept in the file
    same = tmp_path / "same.safetensors"
    said = ["--activations", "quick_gelu", "quick_gelu"]
    assert run(capsys, *pair, *said, "-o", same)[0] == 0
    again = ["--activations", "gelu", "gelu"]
    assert "its activation is quick_gelu" in refusal(capsys, same, pair[1], *again, "-o", output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "-o", "x.safetensors"], "two checkpoints"),
        (["a", "b", "--by", "1", "-o", "x.safetensors"], "1 number for 2"),
        (["a", "b", "--by", "1", "-1", "-o", "x.safetensors"], "above 0"),
        (["a", "b", "-o", "x.pt"], ".safetensors"),
        (["a", "b", "--activations", "gelu", "-o", "x.safetensors"], "1 name for 2"),
        (
            ["none", "b", "-o", "x.safetensors"],
            "no file none. Give a .safetensors, .pth, .pt or .bin file.",
        ),
        (["a", "b", "-o", "a.safetensors"], "Choose another place"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, pair, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    files = {"a": str(pair[0]), "b": str(pair[1])}
    given = [files.get(each, each) for each in arguments]
    assert message in refusal(capsys, *given)


def test_an_unknown_activation_says_what_to_do(tmp_path, capsys, pair):
    code, text = run(capsys, *pair, "-o", tmp_path / "out.safetensors")
    assert code == 0
    assert "activation not known (--activations says it)" in text


def test_the_examples_of_use_are_studies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(
        "{name: s, encoders: [clip_b32], segmenters: [linear], datasets: [camvid]}"
    )
    lines = [shlex.split(line) for line in EXAMPLES.splitlines() if "ablate run" in line]
    found = [plan(load_study_spec(words[2], words[3:4])) for words in lines]
    weights = [{spec.encoder.weights for spec in specs} for specs in found]
    assert weights == [{"averaged.safetensors"}, {"averaged"}]


def changed(folder, key, value):
    """Change the vision tower's configuration in a folder."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["vision_config"][key] = value
    path.write_text(json.dumps(content))


def test_folders_keep_their_text_towers(tmp_path, capsys):
    """The average of whole CLIPs is a folder whose vision and text towers are averages."""
    one, two = (clip_folder(tmp_path / name, seed) for seed, name in enumerate("ab"))
    output = tmp_path / "out"
    assert "distance" in refusal(capsys, one, two, "-o", output)
    assert run(capsys, one, two, "--force", "-o", output)[0] == 0
    models = [CLIPModel.from_pretrained(path).state_dict() for path in (one, two, output)]
    name = "text_projection.weight"
    torch.testing.assert_close(models[2][name], (models[0][name] + models[1][name]) / 2)
    features = [load_tower(str(path)).features(["a road"]) for path in (one, output)]
    assert features[0].shape == features[1].shape
    assert not torch.allclose(*features)
    changed(two, "hidden_act", "gelu")
    message = refusal(capsys, one, two, "--force", "-o", tmp_path / "no")
    assert "quick_gelu and gelu" in message
    assert "files and folders" in refusal(capsys, one, one / "model.safetensors", "-o", output)


def test_other_normalisations_are_refused(tmp_path, capsys):
    folders = [clip_folder(tmp_path / name) for name in "ab"]
    for folder, mean in zip(folders, (0.5, 0.4), strict=True):
        content = {"image_mean": [mean] * 3, "image_std": [0.5] * 3}
        (folder / "preprocessor_config.json").write_text(json.dumps(content))
    message = refusal(capsys, *folders, "-o", tmp_path / "out")
    assert "normalisations of images differ" in message


def test_an_average_is_an_encoders_weights(tmp_path, capsys, monkeypatch):
    """Of timm's bodies; the record says which file it was."""
    monkeypatch.setattr("timm.create_model", create_small)
    spec = {"name": "clip_b16", "neck": "none"}
    paths = []
    for seed in range(2):
        body = build_encoder(EncoderSpec(**spec, weights="random"), seed, text=True).body
        paths.append(tmp_path / f"{seed}.safetensors")
        save_file(body.model.state_dict(), paths[-1])
    output = tmp_path / "out.safetensors"
    assert run(capsys, *paths, "--force", "-o", output)[0] == 0
    body = build_encoder(EncoderSpec(**spec, weights=str(output)), text=True).body
    one, two = (load_file(path)["head.weight"] for path in paths)
    torch.testing.assert_close(body.model.head.weight.data, (one + two) / 2)
    assert body.loaded["file"] == "out.safetensors"
