"""Weight files are read as data, whatever they contain, or refused with one line that says what
to do."""

import argparse
import os
import pickle
import random
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from encoder_ablations.encoders.weights.files import read_weights
from encoder_ablations.utils.errors import InputError


@pytest.fixture
def tensors():
    return {
        "a.weight": torch.arange(6.0).reshape(2, 3),
        "a.bias": torch.ones(2, dtype=torch.float16),
    }


def _equal(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype
        for name in first
    )


def _torchscript(path):
    class Tower(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 4, 2, bias=False).half()
            self.class_embedding = nn.Parameter(torch.arange(8.0)[::2])
            self.mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
            self.register_buffer("position_ids", torch.arange(3))

        def forward(self, x):
            tokens = self.conv1(x.half()).flatten(2).transpose(1, 2).float() + self.class_embedding
            return self.mlp(tokens)

    model = nn.ModuleDict({"visual": Tower()})
    torch.jit.save(torch.jit.trace(_Call(model), torch.randn(1, 3, 4, 4)), path)
    return {f"model.{name}": value for name, value in model.state_dict().items()}


class _Call(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model["visual"](x)


class _Harm:
    """Creates a file as soon as it is unpickled by an unrestricted reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_reads_flat_files_unchanged(tensors, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    assert _equal(read_weights(path), tensors)


def test_reads_the_format_before_pytorch_1_6(tensors, tmp_path):
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert _equal(read_weights(tmp_path / "old.pth"), tensors)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model": t, "args": argparse.Namespace(lr=1e-3), "optimizer": {"state": {}}},
        lambda t: {"model_state_dict": t},
        lambda t: {"model": {"state_dict": t}},
        lambda t: {f"module.{name}": value for name, value in t.items()},
        lambda t: {"model": {f"module._orig_mod.{name}": value for name, value in t.items()}},
        lambda t: {**t, "step": 7},
        lambda t: {name: nn.Parameter(value) for name, value in t.items()},
    ],
)
def test_unwraps_what_training_scripts_save(tensors, tmp_path, wrap):
    torch.save(wrap(tensors), tmp_path / "run.pth")
    read = read_weights(tmp_path / "run.pth")
    assert _equal(read, tensors)
    assert not any(value.requires_grad for value in read.values())


def test_reads_torchscript_archives_as_data(tmp_path):
    expected = _torchscript(tmp_path / "clip.pt")
    assert _equal(read_weights(tmp_path / "clip.pt"), expected)


def test_never_runs_code_from_a_pickle(tmp_path, tensors):
    harm = tmp_path / "harm"
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        torch.save({"model": tensors, "harm": _Harm(harm)}, tmp_path / "bad.pth", **options)
        with pytest.raises(InputError, match=r"could run code when read.*as a \.safetensors file"):
            read_weights(tmp_path / "bad.pth")
    assert not harm.exists()


def test_never_runs_code_from_a_torchscript_archive(tmp_path):
    harm = tmp_path / "harm"
    _torchscript(tmp_path / "good.pt")
    with (
        zipfile.ZipFile(tmp_path / "good.pt") as good,
        zipfile.ZipFile(tmp_path / "bad.pt", "w") as bad,
    ):
        for name in good.namelist():
            is_data = name.endswith("/data.pkl")
            bad.writestr(
                name, pickle.dumps(_Harm(harm), protocol=2) if is_data else good.read(name)
            )
    with pytest.raises(InputError, match=r"bad\.pt (is damaged|holds Python objects)"):
        read_weights(tmp_path / "bad.pt")
    assert not harm.exists()


def test_names_the_objects_of_a_whole_pickled_model(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(
        InputError, match=r"holds Python objects \(torch\.nn\.modules\.linear\.Linear\)"
    ):
        read_weights(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.pth", b"", "damaged or not a weight file"),
        ("page.pth", b"<!DOCTYPE html><html>", "damaged or not a weight file"),
        (
            "pointer.safetensors",
            b"version https://git-lfs.github.com/spec/v1\n",
            "damaged or not a weight file",
        ),
        ("empty.safetensors", b"", "damaged or not a weight file"),
        (
            "weights.npz",
            b"x",
            r"unknown suffix '\.npz'. Allowed: \.safetensors, \.pth, \.pt, \.bin",
        ),
    ],
)
def test_refuses_other_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_weights(tmp_path / name)


def test_refuses_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(InputError, match="there is no file"):
            read_weights(path)


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 3}, {"state_dict": {}}, [torch.ones(1)], torch.ones(1)]
)
def test_refuses_files_without_named_tensors(tmp_path, content):
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(InputError, match="no named tensors"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["safetensors", "zip", "old", "torchscript"])
def test_damage_ends_in_one_clear_error(tensors, tmp_path, kind):
    """Cut or altered anywhere, a file is either still readable or refused; it never ends in
    another exception."""
    path = tmp_path / ("whole.safetensors" if kind == "safetensors" else "whole.pt")
    if kind == "safetensors":
        save_file(tensors, path)
    elif kind == "torchscript":
        _torchscript(path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    whole, numbers = path.read_bytes(), random.Random(0)
    damaged = path.with_stem("damaged")
    refused = 0
    for turn in range(120):
        content = bytearray(whole)
        if turn % 2:
            del content[numbers.randrange(len(content)) :]
        else:
            content[numbers.randrange(len(content))] = numbers.randrange(256)
        damaged.write_bytes(content)
        try:
            read_weights(damaged)
        except InputError:
            refused += 1
    assert refused >= 60
