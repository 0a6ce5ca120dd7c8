"""Local weights of encoders: files, and folders in transformers' format."""

import pytest
import torch
from small_clips import NAME, make_small
from small_text_towers import clip_folder

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.text.sources import check_source, own_tower
from encoder_ablations.encoders.weights.local_files import local_weights
from encoder_ablations.utils.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole tiny CLIP of transformers with a space of 512 numbers."""
    return clip_folder(tmp_path_factory.mktemp("weights") / "clip", width=512)


def spec(weights, name=NAME):
    return EncoderSpec(name=name, neck="none", taps=[1.0], weights=str(weights))


def test_a_folder_gives_its_one_file(folder, monkeypatch):
    make_small(monkeypatch, depth=2, mlp_ratio=2)
    by_folder = build_encoder(spec(folder), text=True)
    by_file = build_encoder(spec(folder / "model.safetensors"), text=True).state_dict()
    assert by_folder.body.loaded["file"] == "model.safetensors"
    assert len(by_folder.body.loaded["sha256"]) == 64
    found = by_folder.state_dict()
    assert all(torch.equal(found[name], value) for name, value in by_file.items())


def test_a_whole_model_reads_texts_by_its_own_tower(folder, tmp_path):
    assert own_tower(spec(folder)) == str(folder)
    # this encoder has no tower of its own in the table
    check_source(spec(folder), None)
    assert own_tower(spec(folder / "model.safetensors")) is None
    assert own_tower(spec("pretrained")) is None
    (tmp_path / "config.json").write_text('{"model_type": "clip_vision_model"}')
    assert own_tower(spec(tmp_path)) is None
    (tmp_path / "config.json").write_text("{")
    assert own_tower(spec(tmp_path)) is None


@pytest.mark.parametrize(
    ("name", "told"), [("none", "a folder in transformers' format"), ("", "has no model.safe")]
)
def test_missing_weights_are_one_line(tmp_path, name, told):
    with pytest.raises(InputError, match=told) as caught:
        local_weights(str(tmp_path / name))
    assert "\n" not in str(caught.value)
