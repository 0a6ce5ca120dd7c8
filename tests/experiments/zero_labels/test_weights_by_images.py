"""``ablate average --images``: checkpoints weigh by how sure they are of unlabelled images."""

import json
import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_clips import NAME, WIDTH, make_small

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.zero_labels.composition import shares_by_entropy

WORDS = ["red", "green", "blue"]
HEAD = ["text.tower=planted", "short_side=32", "window=32", "stride=16"]


def unit_vectors(encoder, texts, spec):
    """In place of a text tower: every text has a direction of its own."""
    return torch.eye(WIDTH)[: len(texts)]


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    make_small(monkeypatch)
    monkeypatch.setattr("encoder_ablations.segmenters.zero_shot.texts.text_features", unit_vectors)


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """Two files: patches that are near one text each, and patches that are equally far from all."""
    monkeypatch.chdir(tmp_path)
    spec = EncoderSpec(name=NAME, neck="none", weights="random")
    whole = build_encoder(spec, 0, text=True).body.model.state_dict()
    for name, rows in (("sharp", slice(len(WORDS), None)), ("blurred", slice(0, len(WORDS)))):
        state = {key: value.clone() for key, value in whole.items()}
        # the rows of the projection are the numbers of a patch in the space of texts
        state["head.weight"][rows] = 0
        save_file(state, tmp_path / f"{name}.safetensors")
    (tmp_path / "words.yaml").write_text(json.dumps(WORDS))
    return ["sharp.safetensors", "blurred.safetensors"]


def average(checkpoints, squares, *options):
    images = ["--images", f"{squares.root}/images/test", "--encoder", NAME, "--classes"]
    images += ["words.yaml", "--set", *HEAD, "--device", "cpu", "--force"]
    return main(["average", *checkpoints, *images, *options])


def facts_in(path):
    with safe_open(path, "pt") as file:
        remarks = file.metadata()
    return json.loads(remarks["average"]), json.loads(remarks["weighting"])


def test_the_sharp_checkpoint_weighs_more(checkpoints, squares, capsys):
    assert average(checkpoints, squares, "-o", "out.safetensors") == 0
    (sharp, blurred), rule = facts_in("out.safetensors")
    # no text is nearer than another: each class has the same probability
    assert blurred["entropy"] == pytest.approx(math.log(3), abs=1e-4)
    assert sharp["entropy"] < blurred["entropy"] - 0.1
    odds = math.exp(blurred["entropy"] - sharp["entropy"])
    assert sharp["weight"] == pytest.approx(odds / (1 + odds))
    assert sharp["weight"] + blurred["weight"] == pytest.approx(1)
    assert "a rule of encoder-ablations" in rule["rule"]
    assert rule["images"] == 3
    assert f"entropy {sharp['entropy']:.3g} nats" in capsys.readouterr().out
    expected = sum(
        part["weight"] * load_file(part["file"])["head.weight"] for part in (sharp, blurred)
    )
    torch.testing.assert_close(load_file("out.safetensors")["head.weight"], expected)


def test_equal_files_and_images_give_equal_weights(checkpoints, squares):
    assert average(checkpoints, squares, "-o", "one.safetensors") == 0
    assert average(checkpoints, squares, "-o", "two.safetensors") == 0
    assert facts_in("one.safetensors") == facts_in("two.safetensors")
    assert average(checkpoints[::-1], squares, "-o", "other.safetensors") == 0
    (blurred, sharp), _ = facts_in("other.safetensors")
    assert [sharp["weight"], blurred["weight"]] == pytest.approx(
        [part["weight"] for part in facts_in("one.safetensors")[0]]
    )


@pytest.mark.parametrize(
    ("entropies", "expected"),
    [
        ([0.5, 0.5], [0.5, 0.5]),
        ([0.0, math.log(3)], [0.75, 0.25]),
        ([2000.0, 2000.0 + math.log(4)], [0.8, 0.2]),
    ],
)
def test_weights_are_a_softmax_of_minus_the_entropy(entropies, expected):
    assert shares_by_entropy(entropies) == pytest.approx(expected)


def test_weights_by_hand_are_called_so(checkpoints):
    options = ["--force", "-o", "out.safetensors"]
    assert main(["average", *checkpoints, "--by", "3", "1", *options]) == 0
    assert facts_in("out.safetensors")[1] == {"rule": "weights by hand"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--images", "."], "--encoder and --classes"),
        (["--encoder", NAME], "--images only"),
        (["--images", ".", "--by", "1", "1"], "Leave out one"),
        (["--images", "none", "--encoder", NAME, "--classes", "words.yaml"], "none"),
        (["--images", ".", "--encoder", NAME, "--classes", "none.yaml"], "none.yaml"),
    ],
)
def test_bad_input_is_one_line(checkpoints, capsys, options, told):
    assert main(["average", *checkpoints, "-o", "out.safetensors", *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
