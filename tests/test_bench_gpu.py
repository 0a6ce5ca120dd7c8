"""``make bench-gpu``: one line without a GPU, and rows that run, here on the CPU."""

import bench_gpu
import pytest
import torch


def test_without_a_gpu_it_says_so_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_gpu.main([]) == 0
    assert capsys.readouterr().out == f"{bench_gpu.NO_DEVICE}\n"


@pytest.fixture
def small(monkeypatch):
    sizes = {"MODEL": "test_vit", "SIDE": 64, "BATCH": 1, "IMAGES": 2, "PASSES": 1, "WARM_UP": 0}
    for name, value in sizes.items():
        monkeypatch.setattr(bench_gpu, name, value)
    # inductor needs minutes of a compiler
    monkeypatch.setattr(bench_gpu, "RECIPES", {"fp32": {"precision": "fp32"}})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("operator_rows", ["op, numba, forward", "op, pytorch, forward + backward"]),
        ("training_rows", ["fp32"]),
        ("evaluation_rows", ["1 at a time", "8 at a time"]),
        ("prediction_rows", ["one image"]),
    ],
)
def test_every_row_is_measured(rows, words, small):
    lines = list(getattr(bench_gpu, rows)(torch.device("cpu")))
    for word in words:
        assert any(word in line for line in lines)
    assert all(" ms (" in line and "MiB" in line for line in lines)
