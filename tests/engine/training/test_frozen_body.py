"""Parameters of a frozen body are stored once, and every checkpoint is whole when it is read."""

import os

import pytest
import torch

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.training.checkpointing.frozen_body import save_model
from encoder_ablations.engine.training.checkpoints import (
    CheckpointError,
    load_checkpoint,
)
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import LinearSpec


def segmenter_of(freeze="body", seed=0, **fields):
    fields = {"name": "test_resnet", "weights": "random", "neck": "none"} | fields
    spec = EncoderSpec(freeze=freeze, **fields)
    return build_segmenter(LinearSpec(name="linear"), build_encoder(spec, seed), 3, seed)


def saved(runs, name, segmenter):
    """Save a run's checkpoint; return its path."""
    path = runs / name / "checkpoints" / "best.pt"
    save_model(path, segmenter, {"run_id": name, "step": 1})
    return path


def body_of(path):
    (file,) = path.parent.glob("body-*.pt")
    return file


def test_checkpoints_are_whole_and_the_body_is_stored_once(tmp_path):
    first, second = segmenter_of(), segmenter_of()
    with torch.no_grad():
        second.head.classifier.weight += 1
    paths = [saved(tmp_path, "a", first), saved(tmp_path, "b", second)]
    for path, segmenter in zip(paths, (first, second), strict=True):
        weights = load_checkpoint(path, path.parent.parent.name, 1)["model"]
        expected = segmenter.state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], value) for name, value in expected.items())
        assert path.stat().st_size < 0.05 * body_of(path).stat().st_size
    assert body_of(paths[0]).samefile(body_of(paths[1]))


def test_a_run_of_other_weights_has_a_body_of_its_own(tmp_path):
    first = body_of(saved(tmp_path, "a", segmenter_of(seed=0)))
    second = body_of(saved(tmp_path, "b", segmenter_of(seed=1)))
    assert first.name != second.name


@pytest.mark.parametrize("name", ["darknet_tiny", "test_vit"])
def test_a_body_with_adapters_shares_the_file_of_the_frozen_body(tmp_path, name):
    frozen = segmenter_of(name=name, weights="random")
    adapted = segmenter_of("none", name=name, adapt={"lora": {"rank": 2}})
    with torch.no_grad():
        for parameter in adapted.encoder.parameters():
            if parameter.requires_grad:
                parameter += 1
    paths = [saved(tmp_path, "a", frozen), saved(tmp_path, "b", adapted)]
    assert body_of(paths[0]).samefile(body_of(paths[1]))
    weights = load_checkpoint(paths[1], "b", 1)["model"]
    expected = adapted.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    # what the checkpoint itself holds: adapters, buffers and the head
    own = torch.load(paths[1], weights_only=True)["model"].keys()
    fixed = {key for key, each in adapted.named_parameters() if not each.requires_grad}
    assert own == expected.keys() - fixed


@pytest.mark.parametrize("freeze", ["none", "all_but_norms", 2])
def test_a_body_that_learns_is_in_the_checkpoint(tmp_path, freeze):
    path = saved(tmp_path, "a", segmenter_of(freeze))
    assert [file.name for file in path.parent.iterdir()] == ["best.pt"]


def test_a_disk_without_links_holds_a_copy(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("operation not supported")

    first = saved(tmp_path, "a", segmenter_of())
    monkeypatch.setattr(os, "link", refuse)
    second = saved(tmp_path, "b", segmenter_of())
    assert not body_of(first).samefile(body_of(second))
    assert load_checkpoint(second)["model"].keys() == load_checkpoint(first)["model"].keys()


def test_a_damaged_body_is_refused_and_not_linked(tmp_path):
    first = saved(tmp_path, "a", segmenter_of())
    file = body_of(first)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{file} is damaged"):
        load_checkpoint(first)
    second = saved(tmp_path, "b", segmenter_of())
    assert not body_of(second).samefile(file)
    assert load_checkpoint(second)["step"] == 1


def test_the_body_of_another_run_is_refused(tmp_path):
    first = saved(tmp_path, "a", segmenter_of(seed=0))
    second = saved(tmp_path, "b", segmenter_of(seed=1))
    file = body_of(first)
    file.write_bytes(body_of(second).read_bytes())
    with pytest.raises(CheckpointError, match=rf"{file} holds the weights of another body"):
        load_checkpoint(first)
    file.unlink()
    with pytest.raises(CheckpointError, match=rf"there is no checkpoint {file}"):
        load_checkpoint(first)
